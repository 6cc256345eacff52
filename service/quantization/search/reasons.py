"""Decisions and verdicts with their reasons as text, for reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import floor, isfinite, sqrt

from service.quantization.evaluate.quality import Quality
from service.quantization.evaluate.trial import Measurement
from service.quantization.search.decide import (
    SLOWEST,
    SMALLER,
    Candidate,
    Goal,
    Target,
    beats,
    best,
    gain,
    required_gain,
    within_budget,
)


class Standing(StrEnum):
    """The result for a candidate. ``PASSES_ROW_BY_ROW``: its rows must not be batched."""

    REFERENCE = "reference"
    PASSES = "passes"
    PASSES_ROW_BY_ROW = "passes row by row"
    FAILS = "fails"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The standing of a candidate, and a short reason."""

    standing: Standing
    text: str

    @property
    def passes(self) -> bool:
        """True if the candidate may be published."""
        return self.standing in (Standing.PASSES, Standing.PASSES_ROW_BY_ROW)


@dataclass(frozen=True, slots=True)
class Decision:
    """``winner`` is a candidate's name, None if FP32 stays."""

    winner: str | None
    reason: str


def decide(
    candidates: Sequence[Candidate], reference: Candidate, goal: Goal, planned: int = 0
) -> Decision:
    """Return the winner with the reason, or the reason why FP32 stays. ``planned`` is the number of
    recipes."""
    found = best(candidates, reference, goal)
    if found is None and planned and not candidates:
        return Decision(None, f"FP32 stays: the time budget ended before any of {planned} recipes "
                        "was tried; increase --budget.")  # fmt: skip
    if found is None:
        return Decision(None, _why_not(candidates, reference, goal))
    assert found.measured is not None
    assert found.built is not None
    assert found.measured.timing is not None
    assert found.measured.quality is not None
    assert reference.built is not None
    timing, quality = found.measured.timing, found.measured.quality
    ratio = reference.built.file_bytes / found.built.file_bytes
    size = f"{ratio:.2f} x smaller" if ratio >= 1 else f"{1 / ratio:.2f} x larger"
    moved = found.measured.deviation
    variance = "" if moved is None or found.measured.invariant else _moves(moved, goal)
    reason = (
        f"best {goal.target} within the budget: {timing.latency_ratio:.2f} x FP32's speed at batch "
        f"1, {timing.throughput_ratio:.2f} x its {goal.unit}/s, {size}; {quality.metric} "
        f"{quality.score:.4f} against {quality.reference:.4f}, a drop of {quality.drop:.2%}, at "
        f"most {goal.max_drop:.2%} is allowed.{variance}"
    )
    return Decision(found.recipe.name, reason)


def _moves(deviation: float, goal: Goal) -> str:
    served = "is served row by row"
    if goal.allow_batch_variance:
        served += ' unless model.toml has combine = "always" under [batching]'
    far = f"by {deviation:.1%}" if isfinite(deviation) else "to NaN or infinity"
    return f" A row's answers change {far} with the other rows of a batch, so the model {served}."


def _why_not(candidates: Sequence[Candidate], reference: Candidate, goal: Goal) -> str:
    if not candidates:
        return "FP32 stays: the graph has nothing that ONNX Runtime's tools can quantize."
    parts = [f"FP32 stays: none of {len(candidates)} candidates is better on {goal.target} within "
             f"a drop of {goal.max_drop:.2%}."]  # fmt: skip
    failed = [c for c in candidates if c.failure]
    quick = [c for c in candidates if not c.failure and c.measured and not within_budget(c, goal)
             and gain(c, reference, goal) >= required_gain(goal)]  # fmt: skip
    slow = [c for c in candidates if not c.failure and c not in quick]
    if quick:
        top = max(quick, key=lambda c: gain(c, reference, goal))
        parts.append(
            f"Better, but not accurate enough: {len(quick)} (the best, {top.recipe.name}: "
            f"{gain(top, reference, goal):.2f} x, {verdict(top, reference, goal).text})."
        )
    if slow:
        top = max(slow, key=lambda c: gain(c, reference, goal))
        parts.append(
            f"Less than {required_gain(goal)} x, or too slow: {len(slow)} (the best, "
            f"{top.recipe.name}: {_ratio(gain(top, reference, goal))}; {_cause(top)})."
        )
    if failed:
        parts.append(f"Not built or not loaded: {len(failed)}.")
    return " ".join(parts)


def _cause(candidate: Candidate) -> str:
    """Return why a candidate is slow, judged by its optimised graph."""
    fusion = candidate.built.fusion if candidate.built else None
    if fusion is None:
        return "not measured"
    if fusion.unfused:
        total = fusion.integer + fusion.unfused
        return f"ONNX Runtime leaves {fusion.unfused} of {total} quantized products in float"
    if fusion.floating:
        total = fusion.integer + fusion.floating
        return f"{fusion.integer} of its {total} products run in integers"
    return (
        "its products run in integers; this CPU gains little from them, or the time is spent "
        "in other operators"
    )


def verdict(candidate: Candidate, reference: Candidate, goal: Goal) -> Verdict:
    """Return the verdict on a candidate."""
    if why := _failure(candidate, reference, goal):
        return Verdict(Standing.FAILS, why)
    if candidate.measured and candidate.measured.invariant:
        return Verdict(Standing.PASSES, "passes")
    text = "passes, but rows of a batch influence each other"
    return Verdict(Standing.PASSES_ROW_BY_ROW, text)


def _failure(candidate: Candidate, reference: Candidate, goal: Goal) -> str:
    """Return why a candidate cannot be published, or ""."""
    measured = candidate.measured
    if candidate.failure or candidate.refuted:
        return candidate.failure or candidate.refuted
    if measured is None:
        return "not measured"
    quality = measured.quality
    if quality is not None and quality.failure:
        return quality.failure
    if measured.dropped:
        return f"dropped: {measured.dropped}"
    if quality is not None and not within_budget(candidate, goal):
        return f"{quality.metric} drops by {quality.drop:.2%}, allowed: {goal.max_drop:.2%}"
    if not beats(candidate, reference, goal):
        if (
            goal.target in (Target.SIZE, Target.MEMORY)
            and gain(candidate, reference, goal) >= SMALLER
        ):
            return f"too slow: {_latency(measured):.2f} x FP32's speed, required: {SLOWEST} x"
        return f"no gain: {_ratio(gain(candidate, reference, goal))} on {goal.target}"
    return ""


def refutation(quality: Quality, rows: int, goal: Goal) -> str:
    """Return why a winner fails on this number of test rows, or ""."""
    if quality.failure:
        return f"not confirmed on {rows} test rows: {quality.failure}"
    # A mean m of n values from 0 to 1 has a variance of at most m (1 - m) / n (Bhatia and Davis,
    # 2000). A drop may exceed the allowed one by two standard errors.
    granted = goal.max_drop + 2 * sqrt(goal.max_drop * (1 - goal.max_drop) / rows)
    if quality.drop <= granted + 1e-9:
        return ""
    return (
        f"not confirmed: on {rows} test rows {quality.metric} drops by {quality.drop:.2%}; "
        f"allowed: {goal.max_drop:.2%}, or {granted:.2%} with the sampling error of these rows"
    )


def _ratio(value: float) -> str:
    """Return a ratio as text, rounded down so that a ratio below a limit is not shown as equal to
    it."""
    return f"{floor(100 * value) / 100:.2f} x"


def _latency(measured: Measurement) -> float:
    return measured.timing.latency_ratio if measured.timing else 0.0
