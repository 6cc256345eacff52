"""report.json: a report as plain values. Defines all of its keys."""

from dataclasses import asdict
from typing import Any

from service.core.figures import finite
from service.quantization.report.report import Report, Row

FORMAT = 1
"""The version of the format. It increases if the meaning of a key changes, not for new keys."""


def as_json(report: Report) -> dict[str, Any]:
    """Return all decisions and measurements. Figures that are not finite are None."""
    machine = report.machine
    found: dict[str, Any] = finite({
        "name": report.name,
        "format": FORMAT,
        "created": report.created.isoformat(timespec="seconds"),
        "decision": asdict(report.decision),
        "confirmation": asdict(report.confirmation) if report.confirmation else None,
        "goal": asdict(report.goal),
        "data": asdict(report.data),
        "sha256": asdict(report.hashes),
        "threads": report.threads,
        "search_seconds": round(report.search_seconds, 1),
        "notes": list(report.notes),
        "profile": report.profile.values() if report.profile else None,
        "hardware": asdict(machine) | {"advice": list(machine.advice)},
        "software": dict(report.software),
        "reference": _row(report.reference),
        "candidates": [_row(row) for row in report.candidates],
    })  # fmt: skip
    return found


def _row(row: Row) -> dict[str, Any]:
    candidate = row.candidate
    found: dict[str, Any] = {
        "name": row.name,
        "verdict": row.verdict.text,
        "standing": row.verdict.standing,
        "recipe": asdict(candidate.recipe),
    }
    if candidate.built is not None:
        found |= asdict(candidate.built) | {"fusion_ratio": candidate.built.fusion.ratio}
    measured = candidate.measured
    if measured is not None:
        found |= {
            "load_seconds": measured.load_seconds,
            "steady_bytes": measured.steady_bytes,
            "peak_bytes": measured.peak_bytes,
            "batch_deviation": measured.deviation,
            "batch_invariant": row.invariant,
            "dropped": measured.dropped,
            "kernels": measured.kernels,
            "quality": asdict(measured.quality) if measured.quality else None,
        }
    if measured is not None and measured.first_token_seconds is not None:
        found["first_token_seconds"] = measured.first_token_seconds
    if row.timing is not None:
        found["timing"] = asdict(row.timing)
    return found
