"""Who won, and why: pure decisions over measured rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.quantization.build import Built
from service.quantization.recipes import Recipe
from service.quantization.timing import Timing
from service.quantization.trial import Measurement

NOISE = 1.15
"""A ratio of speeds below this is noise: such a candidate does not beat FP32."""
SMALLER = 1.1
"""A file, or memory, counts as smaller from this ratio on."""
SLOWEST = 0.67
"""For the targets size and memory a model may run at this share of FP32's speed."""
TIE = 1.05
"""Candidates this close on the target are equal; then the smaller file wins."""


class Target(StrEnum):
    """What is to become better."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    SIZE = "size"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted. ``max_drop`` is the most that the score may fall: 0.01 is one point."""

    target: Target = Target.LATENCY
    max_drop: float = 0.01
    allow_batch_variance: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recipe with what became of it. ``failure``: why there is nothing to measure, if so."""

    recipe: Recipe
    built: Built | None = None
    measured: Measurement | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """``winner`` is a candidate's name, None where FP32 stays."""

    winner: str | None
    reason: str


def gain(candidate: Candidate, reference: Candidate, goal: Goal) -> float:
    """How many times better than FP32 on the target; 0 for what could not be measured."""
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
    # Serving runs it row by row, since its rows may not share a run.
    return 1 / timing.p50_seconds / timing.reference_rows_per_second


def within_budget(candidate: Candidate, goal: Goal) -> bool:
    """Whether its answers are good enough."""
    quality = candidate.measured.quality if candidate.measured else None
    return quality is not None and not quality.failure and quality.drop <= goal.max_drop + 1e-9


def beats(candidate: Candidate, reference: Candidate, goal: Goal) -> bool:
    """Whether it is better than FP32 by more than noise, and not much worse in speed."""
    measured = candidate.measured
    if measured is None or measured.timing is None or measured.dropped:
        return False
    if goal.target in (Target.SIZE, Target.MEMORY):
        enough = gain(candidate, reference, goal) >= SMALLER
        return enough and measured.timing.latency_ratio >= SLOWEST
    return gain(candidate, reference, goal) >= NOISE


def eligible(candidate: Candidate, reference: Candidate, goal: Goal) -> bool:
    """Whether it could be published."""
    return beats(candidate, reference, goal) and within_budget(candidate, goal)


def best(candidates: Sequence[Candidate], reference: Candidate, goal: Goal) -> Candidate | None:
    """The winner among what could be published.

    What answers a row alike in every batch wins over what does not, unless that is allowed.
    """
    able = [c for c in candidates if eligible(c, reference, goal)]
    if not goal.allow_batch_variance:
        able = [c for c in able if c.measured and c.measured.invariant] or able
    if not able:
        return None
    top = max(gain(c, reference, goal) for c in able)
    tied = [c for c in able if gain(c, reference, goal) * TIE >= top]
    return min(tied, key=_cost)


def _cost(candidate: Candidate) -> tuple[float, float, float]:
    """Smaller file, then smaller package (pruned weights compress), then smaller drop."""
    built, measured = candidate.built, candidate.measured
    assert built is not None
    assert measured is not None
    assert measured.quality is not None
    return round(built.file_bytes, -3), built.compressed_bytes, measured.quality.drop


def bar(candidates: Sequence[Candidate], reference: Candidate, goal: Goal) -> float:
    """The share of FP32's speed at batch 1 below which a candidate cannot win any more."""
    if goal.target in (Target.SIZE, Target.MEMORY):
        return SLOWEST
    if goal.target is Target.THROUGHPUT:
        return 0.5  # batches may bring back what single rows lose, but not more than that
    found = best(candidates, reference, goal)
    # Half the way from FP32 to the best so far: mixed precision may still cost it some speed.
    return 1.0 if found is None else max(1.0, 0.6 * gain(found, reference, goal))


def mixed_bases(
    candidates: Sequence[Candidate], reference: Candidate, goal: Goal
) -> list[Candidate]:
    """Candidates worth mending: better than the best so far, but with answers too far off.

    First the one whose answers are nearest to the budget, then the rest, the best first.
    """
    found = best(candidates, reference, goal)
    floor = max(NOISE, gain(found, reference, goal) * TIE if found else 0.0)
    if found and not goal.allow_batch_variance and not _invariant(found):
        floor = NOISE
    broken = [
        c
        for c in candidates
        if c.measured and not c.recipe.float_nodes and not within_budget(c, goal)
        and gain(c, reference, goal) >= floor and c.recipe.method.kind in ("static", "dynamic")
    ]  # fmt: skip
    keeps = [c for c in broken if goal.allow_batch_variance or c.recipe.method.kind == "static"]
    ranked = sorted(keeps, key=lambda c: -gain(c, reference, goal))
    nearest = min(ranked, key=_drop, default=None)
    return [c for c in ranked if c is nearest] + [c for c in ranked if c is not nearest]


def _latency(measured: Measurement) -> float:
    return measured.timing.latency_ratio if measured.timing else 0.0


def _drop(candidate: Candidate) -> float:
    quality = candidate.measured.quality if candidate.measured else None
    return 1.0 if quality is None or quality.failure else quality.drop


def _invariant(candidate: Candidate) -> bool:
    return candidate.measured is not None and candidate.measured.invariant


def decide(candidates: Sequence[Candidate], reference: Candidate, goal: Goal) -> Decision:
    """The winner with the reason, or why FP32 stays."""
    found = best(candidates, reference, goal)
    if found is None:
        return Decision(None, _why_not(candidates, reference, goal))
    assert found.measured is not None
    assert found.built is not None
    assert found.measured.timing is not None
    assert found.measured.quality is not None
    assert reference.built is not None
    timing, quality = found.measured.timing, found.measured.quality
    size = reference.built.file_bytes / found.built.file_bytes
    variance = "" if found.measured.invariant else (
        f" A row's answers move by {found.measured.deviation:.1%} with the rows beside it, so it "
        "is served row by row."
    )  # fmt: skip
    reason = (
        f"best {goal.target} within the budget: {timing.latency_ratio:.2f} x FP32's speed at batch "
        f"1, {timing.throughput_ratio:.2f} x its rows/s, {size:.2f} x smaller; {quality.metric} "
        f"{quality.score:.4f} against {quality.reference:.4f}, a drop of {quality.drop:.2%} where "
        f"{goal.max_drop:.2%} are allowed.{variance}"
    )
    return Decision(found.recipe.name, reason)


def _why_not(candidates: Sequence[Candidate], reference: Candidate, goal: Goal) -> str:
    if not candidates:
        return "FP32 stays: the graph has nothing that ONNX Runtime's tools can quantize."
    parts = [f"FP32 stays: none of {len(candidates)} candidates is better on {goal.target} within "
             f"a drop of {goal.max_drop:.2%}."]  # fmt: skip
    failed = [c for c in candidates if c.failure]
    quick = [c for c in candidates if not c.failure and c.measured and not within_budget(c, goal)
             and gain(c, reference, goal) >= NOISE]  # fmt: skip
    slow = [c for c in candidates if not c.failure and c not in quick]
    if quick:
        top = max(quick, key=lambda c: gain(c, reference, goal))
        parts.append(
            f"{len(quick)} are better but answer too differently (the best, {top.recipe.name}: "
            f"{gain(top, reference, goal):.2f} x, {verdict(top, reference, goal)})."
        )
    if slow:
        top = max(slow, key=lambda c: gain(c, reference, goal))
        parts.append(
            f"{len(slow)} bring less than {NOISE} x (the best, {top.recipe.name}: "
            f"{gain(top, reference, goal):.2f} x; {_cause(top)})."
        )
    if failed:
        parts.append(f"{len(failed)} could not be built or loaded.")
    return " ".join(parts)


def _cause(candidate: Candidate) -> str:
    """What holds a slow candidate back, as its optimised graph tells."""
    fusion = candidate.built.fusion if candidate.built else None
    if fusion is None:
        return "not measured"
    if fusion.unfused:
        total = fusion.integer + fusion.unfused
        return f"ONNX Runtime leaves {fusion.unfused} of {total} quantized products in float"
    if fusion.integer == 0:
        return "no product of it runs in integers"
    return (
        "its products do run in integers; this CPU gains little from them, or the time goes into "
        "operators that stay in float"
    )


def verdict(candidate: Candidate, reference: Candidate, goal: Goal) -> str:
    """One candidate's outcome in a few words."""
    measured = candidate.measured
    if candidate.failure:
        return candidate.failure
    if measured is None:
        return "not measured"
    quality = measured.quality
    if quality is not None and quality.failure:
        return quality.failure
    if measured.dropped:
        return f"dropped: {measured.dropped}"
    if quality is not None and not within_budget(candidate, goal):
        return f"{quality.metric} falls by {quality.drop:.2%}, allowed are {goal.max_drop:.2%}"
    if not beats(candidate, reference, goal):
        if (
            goal.target in (Target.SIZE, Target.MEMORY)
            and gain(candidate, reference, goal) >= SMALLER
        ):
            return f"too slow: {_latency(measured):.2f} x FP32's speed, at least {SLOWEST} is asked"
        return f"no gain: {gain(candidate, reference, goal):.2f} x on {goal.target}"
    return "passes" if measured.invariant else "passes, but rows of a batch influence each other"
