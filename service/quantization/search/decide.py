"""Selects the winner from measured candidates, without I/O. ``reasons`` explains the decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

from service.quantization.evaluate.timing import Timing
from service.quantization.evaluate.trial import Measurement
from service.quantization.recipes.build import Built
from service.quantization.recipes.catalogue import Recipe

NOISE = 1.15
"""The minimum ratio of speeds that counts as faster than FP32; smaller ratios are noise."""
SMALLER = 1.1
"""The minimum ratio that counts as a smaller file, or as less memory."""
SLOWEST = 0.67
"""The minimum share of FP32's speed that is accepted for the targets size and memory."""
MIXABLE = ("static", "dynamic", "per-row")
"""Kinds of methods that support mixed precision."""
TIE = 1.05
"""Candidates within this ratio of each other on the target are equal, and so are file sizes."""


class Target(StrEnum):
    """The figure to improve."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    SIZE = "size"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal of a search. ``max_drop`` is the largest accepted drop of the score: 0.01 is one
    percentage point. ``unit`` is the unit of throughput: rows, or tokens for a language model."""

    target: Target = Target.LATENCY
    max_drop: float = 0.01
    allow_batch_variance: bool = False
    unit: str = "rows"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recipe with its results. ``failure`` is the reason why it could not be measured, or "".
    ``refuted`` is the reason why it failed on the test rows, or ""."""

    recipe: Recipe
    built: Built | None = None
    measured: Measurement | None = None
    failure: str = ""
    refuted: str = ""


def gain(candidate: Candidate, reference: Candidate, goal: Goal) -> float:
    """Return the ratio to FP32 on the target, above 1 if better; 0 if the candidate was not
    measured."""
    if candidate.measured is None or candidate.built is None:
        return 0.0
    assert reference.measured is not None
    assert reference.built is not None
    if goal.target is Target.SIZE:
        return reference.built.file_bytes / candidate.built.file_bytes
    if goal.target is Target.MEMORY:
        return reference.measured.steady_bytes / max(1, candidate.measured.steady_bytes)
    timing = candidate.measured.timing
    if timing is None:
        return 0.0
    return _speed(timing, candidate.measured, goal)


def _speed(timing: Timing, measured: Measurement, goal: Goal) -> float:
    if goal.target is Target.LATENCY:
        return timing.latency_ratio
    if measured.invariant or goal.allow_batch_variance:
        return timing.throughput_ratio
    # Serving runs such a model row by row.
    return 1 / timing.p50_seconds / timing.reference_rows_per_second


def within_budget(candidate: Candidate, goal: Goal) -> bool:
    """Return True if the drop of a candidate's score is accepted."""
    quality = candidate.measured.quality if candidate.measured else None
    if quality is None or candidate.refuted:
        return False
    return not quality.failure and quality.drop <= goal.max_drop + 1e-9


def beats(candidate: Candidate, reference: Candidate, goal: Goal) -> bool:
    """Return True if a candidate beats FP32 on the target by more than noise, and is not too
    slow."""
    measured = candidate.measured
    if measured is None or measured.timing is None or measured.dropped:
        return False
    slow = measured.timing.latency_ratio < SLOWEST
    if goal.target in (Target.SIZE, Target.MEMORY) and slow:
        return False
    return gain(candidate, reference, goal) >= required_gain(goal)


def eligible(candidate: Candidate, reference: Candidate, goal: Goal) -> bool:
    """Return True if a candidate may be published."""
    return beats(candidate, reference, goal) and within_budget(candidate, goal)


def best(candidates: Sequence[Candidate], reference: Candidate, goal: Goal) -> Candidate | None:
    """Return the best eligible candidate; None if there is none.

    Candidates whose answers are independent of the other rows of a batch come first, unless the
    goal allows batch variance.
    """
    able = [c for c in candidates if eligible(c, reference, goal)]
    if not goal.allow_batch_variance:
        able = [c for c in able if c.measured and c.measured.invariant] or able
    if not able:
        return None
    top = max(gain(c, reference, goal) for c in able)
    tied = [c for c in able if gain(c, reference, goal) * TIE >= top]
    smallest = min(_bytes(c) for c in tied)
    return min((c for c in tied if _bytes(c) <= TIE * smallest), key=lambda c: _cost(c, goal))


def required_gain(goal: Goal) -> float:
    """Return the minimum gain on the target for a candidate to be better than FP32."""
    return SMALLER if goal.target in (Target.SIZE, Target.MEMORY) else NOISE


def _bytes(candidate: Candidate) -> int:
    return candidate.built.file_bytes if candidate.built else 0


def _cost(candidate: Candidate, goal: Goal) -> tuple[float, float, int]:
    """Return a sort key for candidates that are equal on the target: the smallest drop is best."""
    # For size, the compressed size counts first: pruning saves only there.
    packed = candidate.built.compressed_bytes if candidate.built else 0
    first = packed if goal.target is Target.SIZE else 0
    return first, _drop(candidate), packed


def cutoff(candidates: Sequence[Candidate], reference: Candidate, goal: Goal) -> float:
    """Return the share of FP32's speed at batch 1 below which a candidate cannot win."""
    if goal.target in (Target.SIZE, Target.MEMORY):
        return SLOWEST
    if goal.target is Target.THROUGHPUT:
        return 0.5  # batching can compensate for at most half the speed of single rows
    found = best(candidates, reference, goal)
    # Below the best so far, which mixed precision may still slow down.
    return 1.0 if found is None else max(1.0, 0.6 * gain(found, reference, goal))


def mixed_bases(
    candidates: Sequence[Candidate], reference: Candidate, goal: Goal
) -> list[Candidate]:
    """Return candidates for mixed precision: better than the best so far, but not accurate enough.

    The most promising candidates come first: those with a large gain and a small drop.
    """
    found = best(candidates, reference, goal)
    floor = required_gain(goal)
    if found and (goal.allow_batch_variance or _invariant(found)):
        floor = max(floor, gain(found, reference, goal) * TIE)
    broken = [
        c
        for c in candidates
        if c.measured and not c.recipe.float_nodes and not within_budget(c, goal)
        and gain(c, reference, goal) >= floor and c.recipe.method.kind in MIXABLE
    ]  # fmt: skip
    keeps = [
        c
        for c in broken
        if goal.allow_batch_variance or c.recipe.method.kind != "dynamic" or _never_joined(c)
    ]
    return sorted(keeps, key=lambda c: -_promise(c, reference, goal))


def _promise(candidate: Candidate, reference: Candidate, goal: Goal) -> float:
    """Estimate the gain that remains with mixed precision.

    The rule of thumb: a drop of four times the accepted one costs half of the gain.
    """
    kept = sqrt(min(1.0, goal.max_drop / _drop(candidate)))
    return (gain(candidate, reference, goal) - 1) * kept


def _drop(candidate: Candidate) -> float:
    quality = candidate.measured.quality if candidate.measured else None
    return 1.0 if quality is None or quality.failure else quality.drop


def _never_joined(candidate: Candidate) -> bool:
    return candidate.measured is not None and candidate.measured.deviation is None


def _invariant(candidate: Candidate) -> bool:
    return candidate.measured is not None and candidate.measured.invariant
