"""A trial of a language model, which decides how many rows and instances decode.

A few prompts are run alone and together. If the scores of a prompt change with the other rows of
the batch, as with one scale for a whole batch, each instance decodes one request at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from time import thread_time

import numpy as np

from service.config.model import ModelConfig
from service.core.batching import BatchingMode
from service.core.cache_plan import Room, plan_cache
from service.engine.generation.decoder import Decoder, Traits
from service.engine.generation.grammar import Grammars
from service.engine.generation.kept_prompts import LEAST, Move
from service.engine.generation.language_model import LanguageModel
from service.engine.generation.sampling import Floats
from service.engine.host.resources import memory_limit, resident_bytes
from service.engine.loading.lanes import choose, counts, measure
from service.engine.loading.language import SLOTS, LanguageParts
from service.engine.loading.plan import Plan, percent
from service.engine.loading.probe import Probe
from service.engine.runtime.session import Session, new_control

TRIAL_LENGTHS = (5, 11, 2)
"""Lengths of the prompts that are tried, in tokens."""
TRIAL_TOKENS = 3
TRIAL_CONTEXT = 64
ROUNDS = 3
WORTH_JOINING = 1.2
"""Tokens/s of all rows together, as a multiple of those of one row alone, from which rows share
runs although a single row must then run with a second one."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A model that is warm, with the plan and the measurements of the trial."""

    model: LanguageModel
    plan: Plan
    probe: Probe


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
    traits = _traits(trial, parts.config.vocab_size, given)
    decoders = tuple(
        Decoder(session, parts.config, rows, plan.context, new_control(), traits)
        for _ in range(instances)
    )
    for decoder in decoders:  # the first run with a binding takes longer
        decoder.read(0, [[0, 0]])
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
    return Decoder(session, parts.config, rows, TRIAL_CONTEXT, parts.control, Traits(least_rows))


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
        scores = [decoder.read(0, [text])[0]]
        for step, tokens in enumerate(more):
            scores.append(decoder.next([tokens[place]], [len(text) + step])[0])
        alone.append(scores)
    joined = [[decoder.read(row, [text])[0]] for row, text in enumerate(texts)]
    for step, tokens in enumerate(more):
        found = decoder.next(tokens, [len(text) + step for text in texts])
        for row, scores in enumerate(found):
            joined[row].append(scores)
    return max(map(_difference, alone, joined))


def _traits(decoder: Decoder, vocabulary: int, given: ModelConfig) -> Traits:
    """Try to read prompts of one length in one run, and to copy the beginning of a prompt: all that
    may be copied, and half."""
    length = LEAST + 2
    texts = np.random.default_rng(1).integers(0, vocabulary, (2, length)).tolist()
    alone = [decoder.read(0, [text])[0] for text in texts]
    together = list(decoder.read(0, texts))
    copied = []
    for text, part in zip(texts, (LEAST, LEAST // 2), strict=True):
        decoder.read(0, [text[:part]])
        decoder.cache.move(Move(0, 1, part))
        copied.append(decoder.read(1, [text[part:]], part)[0])
    together_alike, copied_alike = (
        _difference(alone, found) <= given.batching.tolerance for found in (together, copied)
    )
    return Traits(
        decoder.traits.least_rows, together_alike, given.generation.reuse and copied_alike
    )


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
        "prompts_reused": "yes" if decoders[0].traits.reuses else "no",
        "tools": "yes" if parts.template and parts.template.tools else "no",
        "chat_template": "yes" if parts.template else "no",
        "step_seconds": ", ".join(f"{rows}: {time:.4f}" for rows, time in seconds.items()),
    }
