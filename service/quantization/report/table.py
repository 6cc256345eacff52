"""A report's candidates as text, best first; the same columns as on the page."""

from math import isfinite

from service.quantization.report.report import Report, Row
from service.quantization.search.decide import Target

HEADS = ("", "RECIPE", "MB", "PACKED", "LATENCY", "ROWS/S", "MEMORY", "SCORE", "FUSED", "VERDICT")
LEAST_NEEDED = ("PACKED", "FUSED", "MEMORY", "ROWS/S", "MB", "LATENCY")
"""In the order in which they give way to recipe and verdict in a narrow terminal."""
TARGETS = {
    Target.LATENCY: "LATENCY",
    Target.THROUGHPUT: "ROWS/S",
    Target.SIZE: "MB",
    Target.MEMORY: "MEMORY",
}
"""The column that shows what was to become better: it stays."""
READABLE = 34
"""Columns that recipe and verdict are to have each, where others can give way."""


def table(report: Report, width: int | None = None) -> str:
    """Aligned columns; ratios are to FP32. ``width`` is what a terminal has, if that is where it
    goes: what is least needed to choose is left out before long names and verdicts are cut."""
    kept = TARGETS[report.goal.target]
    rows = [report.reference, *report.ranked]
    shown = list(HEADS)
    for dropped in ("", *(head for head in LEAST_NEEDED if head != kept)):
        shown = [head for head in shown if head != dropped or not head]
        lines = [shown, *([_cells(row, report)[head] for head in shown] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        if width is None or _least(shown, widths) <= width:
            break
    if width is not None:
        widths = _narrowed(shown, widths, width)
    return "\n".join(
        "  ".join(
            (_cut_inside if head == "RECIPE" else cut)(cell, wide).ljust(wide)
            for head, cell, wide in zip(shown, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _least(heads: list[str], widths: list[int]) -> int:
    """How wide a terminal must be for these columns, with readable recipes and verdicts."""
    texts = ("RECIPE", "VERDICT")
    return _gaps(heads) + sum(
        min(width, READABLE) if head in texts else width
        for head, width in zip(heads, widths, strict=True)
    )


def _narrowed(heads: list[str], widths: list[int], width: int) -> list[int]:
    """Widths that fit: recipe and verdict share what the figures leave, each at most what it needs
    and the verdict half of it at least."""
    found = dict(zip(heads, widths, strict=True))
    recipe, verdict = found["RECIPE"], found["VERDICT"]
    room = max(2, width - _gaps(heads) - sum(found.values()) + recipe + verdict)
    found["VERDICT"] = min(verdict, max(room - recipe, (room + 1) // 2))
    found["RECIPE"] = min(recipe, room - found["VERDICT"])
    return list(found.values())


def _gaps(heads: list[str]) -> int:
    return 2 * (len(heads) - 1)


def cut(text: str, width: int) -> str:
    """A text, with an ellipsis for its end where it is too long."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _cut_inside(text: str, width: int) -> str:
    """A text without its middle where it is too long: recipes differ at their ends."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return cut(text, width - end) + text[len(text) - end :]


def figure(value: float, form: str) -> str:
    """A figure in its form."""
    return format(value, form) if isfinite(value) else "not finite"


def confirmed(report: Report) -> str:
    """What the winner was worth on rows that had no part in choosing it."""
    quality, rows = report.confirmation, report.data.confirmation_rows
    if report.decision.winner is None and not rows:
        return "there is no winner to confirm"
    if not rows:
        return "not confirmed: too few rows to set some aside"
    if quality is None:
        return f"{rows} rows were set aside; there is no winner to confirm"
    return (
        f"confirmed on {rows} rows that chose nothing: {quality.metric} "
        f"{figure(quality.score, '.4f')} against {figure(quality.reference, '.4f')}"
    )


def cells(row: Row) -> dict[str, str]:
    """What is shown of a candidate, by column; empty where it was not measured."""
    built, measured = row.candidate.built, row.candidate.measured
    timing, quality = row.timing, row.quality
    ratio = built.fusion.ratio if built else None
    return {
        "MB": f"{built.file_bytes / 1e6:.3g}" if built else "",
        "PACKED": f"{built.compressed_bytes / 1e6:.3g}" if built else "",
        "LATENCY": f"{figure(timing.latency_ratio, '.2f')} x" if timing else "",
        "ROWS/S": f"{figure(timing.throughput_ratio, '.2f')} x"
        if timing and not row.dropped
        else "",
        "MEMORY": f"{measured.steady_bytes / 1e6:.0f} MB" if measured else "",
        "SCORE": figure(quality.score, ".4f") if quality and not quality.failure else "",
        "FUSED": figure(ratio, ".0%") if ratio is not None else "",
    }


def _cells(row: Row, report: Report) -> dict[str, str]:
    mark = "*" if row is report.winner else ""
    return {"": mark, "RECIPE": row.name, **cells(row), "VERDICT": row.verdict.text[:90]}
