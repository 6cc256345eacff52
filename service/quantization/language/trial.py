"""Compares a candidate with the FP32 model that it was built from. Runs in a worker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from service.config.model import ModelConfig
from service.core.errors import ConfigError
from service.core.language_gate import Forced
from service.engine.generation.decoder import Decoder
from service.engine.generation.genai_config import read_config
from service.engine.generation.language_model import LanguageModel
from service.engine.generation.teacher import force
from service.engine.host.heap import trim_heap
from service.engine.host.resources import resident_bytes
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import load

CONTEXT, PROMPT, STEPS = 256, 64, 4
"""The number of tokens in the cache, in a prompt, and in a turn."""
ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Speeds:
    """Medians over rounds in which the candidate and FP32 alternate.

    Times are in seconds: ``token`` of one token for one stream, ``step`` of one step for all
    streams, ``prompt`` from a prompt of ``prompt_tokens`` tokens to the first generated token. The
    ratios are multiples of FP32's speed.
    """

    token: float
    step: float
    prompt: float
    prompt_tokens: int
    reference_token: float
    reference_step: float
    token_ratio: float
    step_ratio: float


@dataclass(frozen=True, slots=True)
class LanguageTrial:
    """``forced`` are the model's predictions for the texts; ``deviation`` is how much scores change
    with the other rows of a batch. Units are bytes and seconds."""

    forced: Forced
    speeds: Speeds
    deviation: float
    load_seconds: float
    steady_bytes: int
    kernels: str


def tokens_of(folder: Path, text: str) -> tuple[list[int], int]:
    """Return the tokens of a text for a model, and the model's context length.

    Raises:
        LoadFailed: the folder holds no language model that can be served.
    """
    language = _language(load(folder, ModelConfig(), 1), folder)
    return language.tokenizer.encode(text, special=False), language.config.context_length


def reference(folder: Path, texts: NDArray[np.int64]) -> Forced:
    """Return the predictions of FP32 for texts."""
    return force(_language(load(folder, ModelConfig(), 1), folder).decoders[0], texts)


def trial(
    folder: Path, fp32: Path, texts: NDArray[np.int64], streams: int, threads: int
) -> LanguageTrial:
    """Measure a candidate; ``streams`` requests decode together."""
    values = {
        "generation": {"slots": streams, "context": _context(folder)},
        "instances": {"count": 1, "threads": threads},
    }
    config, before = ModelConfig.model_validate(values), resident_bytes()
    loaded = load(folder, config, 1)
    trim_heap()
    steady = max(0, resident_bytes() - before)
    language = _language(loaded, folder)
    forced = force(language.decoders[0], texts)
    other = _language(load(fp32, config, 1), fp32)
    speeds = _race([_wide(language, streams), _wide(other, streams)], streams)
    deviation = loaded.probe.deviation
    return LanguageTrial(
        forced, speeds, deviation, loaded.load_seconds, steady, loaded.kernels.value
    )


def _language(loaded: Loaded, folder: Path) -> LanguageModel:
    if loaded.language is None:
        raise ConfigError(f"{folder} holds no language model")
    return loaded.language


def _wide(language: LanguageModel, streams: int) -> Decoder:
    """Return a decoder for ``streams`` streams, even if serving would run them one by one."""
    return language.decoders[0].beside(streams, language.context)


def _context(folder: Path) -> int:
    return min(CONTEXT, read_config(folder).context_length)


def _race(decoders: Sequence[Decoder], streams: int) -> Speeds:
    times = np.array([[_turn(each, streams) for each in decoders] for _ in range(ROUNDS)])
    token, step, prompt = (times[:, :, place] for place in range(3))
    return Speeds(
        float(np.median(token[:, 0])),
        float(np.median(step[:, 0])),
        float(np.median(prompt[:, 0])),
        _prompt_length(decoders[0]),
        float(np.median(token[:, 1])),
        float(np.median(step[:, 1])),
        float(np.median(token[:, 1] / token[:, 0])),
        float(np.median(step[:, 1] / step[:, 0])),
    )


def _turn(decoder: Decoder, streams: int) -> tuple[float, float, float]:
    length = _prompt_length(decoder)
    return (
        median(_time(decoder, 1, length) for _ in range(STEPS)),
        median(_time(decoder, streams, length) for _ in range(STEPS)),
        _timed(lambda: decoder.read(0, [[1] * length])),
    )


def _prompt_length(decoder: Decoder) -> int:
    return min(PROMPT, decoder.cache.context - 1)


def _time(decoder: Decoder, rows: int, length: int) -> float:
    return _timed(lambda: decoder.next([1] * rows, [length] * rows))


def _timed(run: Callable[[], object]) -> float:
    started = perf_counter()
    run()
    return perf_counter() - started
