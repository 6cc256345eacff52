"""The story of a search as plain values: report.json."""

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import onnx
import onnxruntime

from service import __version__
from service.core.figures import finite
from service.engine.cpu.machine import Machine
from service.engine.cpu.profile import Profile
from service.quantization.evaluate.trial import Measurement
from service.quantization.search.decide import Candidate, Goal
from service.quantization.search.reasons import verdict
from service.quantization.search.task import Outcome

FORMAT = 1


def report(
    outcome: Outcome, goal: Goal, machine: Machine, data: dict[str, Any], hashes: dict[str, str]
) -> dict[str, Any]:
    """Everything that was decided and measured. Bytes and seconds; ratios are to FP32.

    ``data`` says which rows, ``hashes`` are SHA-256 of the model published and of its source.
    """
    rows = [
        _candidate(c, outcome.reference, goal) for c in (outcome.reference, *outcome.candidates)
    ]
    found: dict[str, Any] = finite({
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "decision": asdict(outcome.decision),
        "confirmation": asdict(outcome.confirmation) if outcome.confirmation else None,
        "goal": asdict(goal),
        "data": data,
        "sha256": hashes,
        "threads": outcome.threads,
        "search_seconds": round(outcome.seconds, 1),
        "notes": list(outcome.notes),
        "profile": _profile(outcome, machine),
        "hardware": asdict(machine) | {"advice": list(machine.advice)},
        "software": {
            "quantserve": __version__, "onnxruntime": onnxruntime.__version__,
            "onnx": onnx.__version__, "python": platform.python_version(),
        },
        "reference": rows[0],
        "candidates": rows[1:],
    })  # fmt: skip
    return found


def _profile(outcome: Outcome, machine: Machine) -> dict[str, Any] | None:
    """The profile that the figures were measured on, with the winner's kernels; None if FP32
    stays."""
    named = outcome.decision.winner
    measured = next((c.measured for c in outcome.candidates if c.recipe.name == named), None)
    return Profile.of(machine, measured.kernels).values() if measured else None


def _candidate(candidate: Candidate, reference: Candidate, goal: Goal) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": candidate.recipe.name,
        "verdict": verdict(candidate, reference, goal),
        "recipe": asdict(candidate.recipe),
    }
    if candidate is reference:
        row["verdict"] = "the reference"
    if candidate.built is not None:
        built = candidate.built
        row |= asdict(built) | {"fusion_ratio": built.fusion.ratio}
    measured = candidate.measured
    if measured is not None:
        row |= {
            "load_seconds": measured.load_seconds,
            "steady_bytes": measured.steady_bytes,
            "peak_bytes": measured.peak_bytes,
            "batch_deviation": measured.deviation,
            "batch_invariant": _invariant(measured),
            "dropped": measured.dropped,
            "kernels": measured.kernels,
            "quality": asdict(measured.quality) if measured.quality else None,
        }
    if measured is not None and measured.timing is not None:
        row["timing"] = asdict(measured.timing)
    return row


def _invariant(measured: Measurement) -> bool | None:
    """None where it was not found out, or does not apply."""
    unknown = measured.dropped or measured.deviation is None
    return None if unknown else measured.invariant
