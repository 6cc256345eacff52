"""Loads the parts of a language model beside its graph: tokenizer, template, rows, and a trial.

The trial runs a few prompts alone and together. If the scores of a prompt change with the other
rows of the batch, as with one scale for a whole batch, each instance decodes one request at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from time import thread_time
from typing import TYPE_CHECKING

import numpy as np

from service.config.model import GenerationConfig, ModelConfig
from service.core.batching import BatchingMode
from service.core.cache_plan import LEAST_CONTEXT, Room, plan_cache
from service.core.datatypes import DATATYPES
from service.core.errors import LoadFailed
from service.core.tensors import Signature, TensorSpec
from service.engine.generation.decoder import Decoder, check_graph
from service.engine.generation.genai_config import LanguageConfig, read_config
from service.engine.generation.grammar import Grammars
from service.engine.generation.language_model import LanguageModel
from service.engine.generation.sampling import Floats
from service.engine.host.paths import leads_outside
from service.engine.host.resources import memory_limit, resident_bytes
from service.engine.loading.lanes import choose, counts, measure
from service.engine.loading.plan import Plan, percent
from service.engine.loading.probe import Probe
from service.engine.runtime.execution import Control
from service.engine.runtime.session import Session, new_control
from service.engine.storage.folder import VersionFiles

if TYPE_CHECKING:
    from service.engine.generation.chat_template import ChatTemplate
    from service.engine.generation.tokenizer import Tokenizer

TEXT = Signature(
    (TensorSpec("text_input", DATATYPES["BYTES"], (1,)),),
    (TensorSpec("text_output", DATATYPES["BYTES"], (1,)),),
)
"""The signature of a language model, with the tensor names of Triton's backends for them."""
SLOTS = 8
TRIAL_LENGTHS = (5, 11, 2)
"""Lengths of the prompts that are tried, in tokens."""
TRIAL_TOKENS = 3
TRIAL_CONTEXT = 64
ROUNDS = 3
WORTH_JOINING = 1.2
"""Tokens/s of all rows together, as a multiple of those of one row alone, from which rows share
runs although a single row must then run with a second one."""


@dataclass(frozen=True, slots=True)
class LanguageParts:
    """The parts of a language model beside its graph. ``control`` ends its runs."""

    config: LanguageConfig
    tokenizer: "Tokenizer"
    template: "ChatTemplate | None"
    control: Control

    @property
    def signature(self) -> Signature:
        """The signature of every language model."""
        return TEXT


@dataclass(frozen=True, slots=True)
class Tried:
    """A model that is warm, with the plan and the measurements of the trial."""

    model: LanguageModel
    plan: Plan
    probe: Probe


def read_parts(
    files: VersionFiles, session: Session, given: GenerationConfig, control: Control
) -> LanguageParts:
    """Read the files beside the graph.

    Raises:
        LoadFailed: a file or a package is missing or not usable.
    """
    config = read_config(files.home)
    try:
        from service.engine.generation.chat_template import (
            CONFIG_FILE,
            TEMPLATE_FILE,
            read_chat_template,
        )
        from service.engine.generation.tokenizer import TOKENIZER_FILE, Tokenizer
    except ImportError as error:
        raise LoadFailed(
            f"it is a language model, and {error.name} is not installed;"
            " pip install 'quantserve[llm]'"
        ) from None
    for name in (CONFIG_FILE, TEMPLATE_FILE, TOKENIZER_FILE):
        if leads_outside(files.root, files.home / name):
            raise LoadFailed(f"{name} leads outside the model repository")
    tokenizer = Tokenizer(files.home / TOKENIZER_FILE)
    if tokenizer.size > config.vocab_size:
        raise LoadFailed(
            f"{TOKENIZER_FILE} has {tokenizer.size} tokens, and the model {config.vocab_size}:"
            " they do not belong together"
        )
    check_graph(session.signature, config)
    _check_context(config, given)
    return LanguageParts(config, tokenizer, read_chat_template(files.home), control)


def least_cache_bytes(files: VersionFiles, given: GenerationConfig) -> int:
    """Return the minimum bytes of a useful cache: ``LEAST_CONTEXT`` tokens and ``SLOTS`` slots,
    unless model.toml sets others or the model has a shorter context.

    Raises:
        LoadFailed: genai_config.json cannot be read.
    """
    config = read_config(files.home)
    shape = config.decoder
    each = shape.num_hidden_layers * shape.num_key_value_heads * shape.head_size
    tokens = given.context or min(LEAST_CONTEXT, config.context_length)
    return 2 * each * np.dtype(np.float32).itemsize * tokens * (given.slots or SLOTS)


def try_out(
    parts: LanguageParts,
    session: Session,
    given: ModelConfig,
    cores: int,
    most_bytes: int | None = None,
) -> Tried:
    """Run a few prompts, measure whether rows depend on each other, and choose the rows.

    With full caches the process may hold ``most_bytes``; None for the limit of the machine.

    Raises:
        LoadFailed: the graph does not match genai_config.json, or the cache does not fit.
        ExecutionFailed: the graph fails.
    """
    slots = given.generation.slots or SLOTS
    rates = _rates(parts, session, given, cores, slots)
    instances = given.instances.count or choose(rates)
    threads, rows, note = given.instances.threads or 1, ceil(slots / instances), ""
    trial = _trial(parts, session, rows)
    deviation = _deviation(trial, parts.config.vocab_size)
    if given.batching.combine == "never":
        rows, note = 1, "model.toml says never to combine"
    elif deviation > given.batching.tolerance and rows > 1:
        moves = f"scores change by {percent(deviation)} with the other rows of a batch"
        if given.batching.combine == "always":
            note = f"{moves}; combined anyway, as model.toml says"
        elif joined := _with_second_row(parts, session, trial, rows, given.batching.tolerance):
            trial, deviation, note = joined
        else:
            rows, note = 1, f"{moves}: an instance decodes one request at a time"
    seconds = {count: _seconds(trial, count) for count in sorted({1, rows})}
    room = _room(most_bytes)
    plan = plan_cache(
        trial.cache.token_bytes,
        room,
        parts.config.context_length,
        rows * instances,
        given.generation.context,
        fewer=given.generation.slots is None,
        step=instances,
    )
    instances = min(instances, plan.slots)
    rows, note = plan.slots // instances, "; ".join(filter(None, (note, plan.note)))
    decoders = tuple(
        Decoder(session, parts.config, rows, plan.context, new_control(), trial.least_rows)
        for _ in range(instances)
    )
    for decoder in decoders:  # the first run with a binding takes longer
        decoder.read(0, [0, 0], 0)
    mode = BatchingMode.COMBINE if rows > 1 else BatchingMode.REQUESTS
    model = LanguageModel(
        parts.config,
        parts.tokenizer,
        parts.template,
        decoders,
        plan.context,
        given.generation.chunk,
        _figures(parts, decoders, seconds, room) | _told_of(rates),
        Grammars(parts.tokenizer, parts.config.vocab_size, parts.config.ends),
    )
    return Tried(
        model, Plan(mode, rows, instances, threads, False, note), Probe(seconds, deviation)
    )


def _trial(parts: LanguageParts, session: Session, rows: int, least_rows: int = 1) -> Decoder:
    """Create a decoder with a short cache, for at least as many rows as are tried."""
    rows = max(rows, len(TRIAL_LENGTHS))
    return Decoder(session, parts.config, rows, TRIAL_CONTEXT, parts.control, least_rows)


def _with_second_row(
    parts: LanguageParts, session: Session, trial: Decoder, rows: int, tolerance: float
) -> tuple[Decoder, float, str] | None:
    """Try to run a single row with a second one. Return the decoder for it, how far its scores
    change, and the note; None if they still change, or if rows are not enough faster together."""
    second = _trial(parts, session, rows, least_rows=2)
    deviation, one = _deviation(second, parts.config.vocab_size), _seconds(trial, 1)
    if deviation > tolerance or not worth_joining(one, _seconds(trial, rows), rows):
        return None
    share = one / _seconds(second, 1)
    note = (
        "a single row is computed differently from several on this machine: each step runs at least"
        f" two rows, and a lone request has {share:.0%} of its speed; combine ="
        ' "never" in model.toml decodes one request at a time at full speed'
    )
    return second, deviation, note


def worth_joining(one: float, several: float, rows: int) -> bool:
    """Return True if rows are enough faster together, by the seconds of a step with one row and of
    a step with ``rows`` rows."""
    return rows * one / several >= WORTH_JOINING


def _check_context(config: LanguageConfig, given: GenerationConfig) -> None:
    """Check the context in model.toml.

    Raises:
        LoadFailed: model.toml sets a longer context than the model has.
    """
    most = config.context_length
    if given.context is not None and given.context > most:
        raise LoadFailed(
            f"model.toml: generation.context = {given.context}, and the model has {most}"
        )


def _rates(
    parts: LanguageParts, session: Session, given: ModelConfig, cores: int, slots: int
) -> dict[int, float]:
    """Return the tokens/s by the number of instances; empty if model.toml sets the number. A rate
    of 0 was not measured."""
    if given.instances.count is not None:
        return {}
    tried = counts(cores, slots)
    if len(tried) == 1 or given.batching.combine == "never":
        return {min(cores, slots): 0.0}

    def decoder(rows: int) -> Decoder:
        return Decoder(session, parts.config, rows, TRIAL_CONTEXT, parts.control)

    return measure(tried, slots, decoder)


def _told_of(rates: Mapping[int, float]) -> dict[str, str]:
    told = ", ".join(f"{count}: {rate:.0f}" for count, rate in rates.items() if rate)
    return {"instances_tokens_per_second": told} if told else {}


def _room(most: int | None) -> Room:
    """Return the memory that the process may still use."""
    total = memory_limit() if most is None else most
    return Room(total, max(0, total - resident_bytes()))


def _deviation(decoder: Decoder, vocabulary: int) -> float:
    """Return how far scores change with the other rows of a batch, as a share of the largest
    score."""
    random = np.random.default_rng(0)
    texts = [random.integers(0, vocabulary, length).tolist() for length in TRIAL_LENGTHS]
    more = random.integers(0, vocabulary, (TRIAL_TOKENS, len(texts))).tolist()
    alone: list[list[Floats]] = []
    for place, text in enumerate(texts):
        scores = [decoder.read(0, text, 0)]
        for step, tokens in enumerate(more):
            scores.append(decoder.next([tokens[place]], [len(text) + step])[0])
        alone.append(scores)
    joined = [[decoder.read(row, text, 0)] for row, text in enumerate(texts)]
    for step, tokens in enumerate(more):
        found = decoder.next(tokens, [len(text) + step for text in texts])
        for row, scores in enumerate(found):
            joined[row].append(scores)
    return max(map(_difference, alone, joined))


def _difference(alone: Sequence[Floats], joined: Sequence[Floats]) -> float:
    pairs = list(zip(alone, joined, strict=True))
    largest = max(float(np.abs(one).max()) for one, _ in pairs)
    return max(float(np.abs(one - other).max()) for one, other in pairs) / (largest or 1.0)


def _seconds(decoder: Decoder, rows: int) -> float:
    """Return the best time of a step with ``rows`` rows."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = thread_time()
        decoder.next([0] * rows, [16] * rows)
        best = min(best, thread_time() - before)
    return best


def _figures(
    parts: LanguageParts, decoders: Sequence[Decoder], seconds: Mapping[int, float], room: Room
) -> dict[str, str]:
    cache = decoders[0].cache
    return {
        "task": "text-generation",
        "context": str(cache.context),
        "slots": str(cache.rows * len(decoders)),
        "cache_bytes_per_token": str(cache.token_bytes),
        "cache_bytes_at_most": str(cache.most_bytes * len(decoders)),
        "cache_bytes_available": str(room.left),
        "tools": "yes" if parts.template and parts.template.tools else "no",
        "chat_template": "yes" if parts.template else "no",
        "step_seconds": ", ".join(f"{rows}: {time:.4f}" for rows, time in seconds.items()),
    }
