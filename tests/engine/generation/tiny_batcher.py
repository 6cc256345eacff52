"""A batcher of the tiny model, and requests to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from service.core.events import Event
from service.core.generation import Delta, GenerationRequest, SamplingParameters
from service.engine.generation.batcher import GenerationBatcher
from service.engine.generation.decoder import Decoder, Traits
from service.engine.generation.genai_config import read_config
from service.engine.generation.grammar import Grammars
from service.engine.generation.language_model import LanguageModel
from service.engine.generation.stream import Stream
from service.engine.generation.tokenizer import Tokenizer
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session, new_control
from tests.engine.generation import tiny_llama

GREEDY = SamplingParameters(temperature=0.0)


def language(
    folder: Path, lanes: int = 1, rows: int = 4, chunk: int = 16, least_rows: int = 1
) -> LanguageModel:
    """Load the tiny model without the loader."""
    version = tiny_llama.write(folder)
    config = read_config(version)
    session = Session(version / "model.onnx", SessionOptions())
    context = tiny_llama.CONTEXT
    decoders = [
        Decoder(session, config, rows, context, new_control(), Traits(least_rows))
        for _ in range(lanes)
    ]
    tokenizer = Tokenizer(version / "tokenizer.json")
    grammars = Grammars(tokenizer, config.vocab_size, config.ends)
    given = (config, tokenizer, None, tuple(decoders), context, chunk, {}, grammars)
    return LanguageModel(*given)


@contextmanager
def batcher(
    folder: Path, events: list[Event] | None = None, limit: int = 100, **options: Any
) -> Iterator[GenerationBatcher]:
    """Return a batcher of the tiny model."""
    told = events if events is not None else []
    found = GenerationBatcher(("tiny", 1), language(folder, **options), told.append, limit=limit)
    yield found
    found.close()


def prompt(seed: int, length: int) -> tuple[int, ...]:
    """Return tokens that are not special."""
    return tuple(np.random.default_rng(seed).integers(3, 500, length).tolist())


def request(seed: int = 0, length: int = 10, **asked: Any) -> GenerationRequest:
    """Return a request; greedy by default, and never ended by an end token of the model."""
    given = {"sampling": GREEDY, "max_tokens": 20, "ignore_eos": True} | asked
    return GenerationRequest(prompt(seed, length), **given)


async def whole(stream: Stream) -> Delta:
    """Return a whole answer as one piece."""
    deltas = [delta async for delta in stream]
    text = "".join(delta.text for delta in deltas)
    chosen = tuple(token for delta in deltas for token in delta.chosen)
    return deltas[-1]._replace(text=text, chosen=chosen)
