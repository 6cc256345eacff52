"""A report's candidates as a text table, best first, with the same columns as the page."""

from math import isfinite

from service.quantization.report.report import Report, Row
from service.quantization.search.decide import Target

HEADS = ("", "RECIPE", "MB", "PACKED", "LATENCY", "ROWS/S", "MEMORY", "SCORE", "FUSED", "VERDICT")
LEAST_NEEDED = ("PACKED", "FUSED", "MEMORY", "ROWS/S", "MB", "LATENCY")
"""Columns that are left out in a narrow terminal, in this order."""
TARGETS = {
    Target.LATENCY: "LATENCY",
    Target.THROUGHPUT: "ROWS/S",
    Target.SIZE: "MB",
    Target.MEMORY: "MEMORY",
}
"""The column of each target, which is never left out."""
READABLE = 34
"""The desired minimum width of recipe and verdict, in characters."""


def table(report: Report, width: int | None = None) -> str:
    """Return the table in aligned columns; ratios are to FP32.

    ``width`` is the terminal's width, None for no limit. If the table does not fit, columns are
    left out first, then recipes and verdicts are truncated.
    """
    kept = TARGETS[report.goal.target]
    rows = [report.reference, *report.ranked]
    shown = list(HEADS)
    for dropped in ("", *(head for head in LEAST_NEEDED if head != kept)):
        shown = [head for head in shown if head != dropped or not head]
        names = [head.replace("ROWS", report.goal.unit.upper()) for head in shown]
        lines = [names, *([_cells(row, report)[head] for head in shown] for row in rows)]
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
    """Return the minimum width for these columns with readable recipes and verdicts."""
    texts = ("RECIPE", "VERDICT")
    return _gaps(heads) + sum(
        min(width, READABLE) if head in texts else width
        for head, width in zip(heads, widths, strict=True)
    )


def _narrowed(heads: list[str], widths: list[int], width: int) -> list[int]:
    """Return widths of columns that fit into ``width``. Recipe and verdict share the space that the
    figures leave. The verdict gets at least half of this space if it needs that much."""
    found = dict(zip(heads, widths, strict=True))
    recipe, verdict = found["RECIPE"], found["VERDICT"]
    room = max(2, width - _gaps(heads) - sum(found.values()) + recipe + verdict)
    found["VERDICT"] = min(verdict, max(room - recipe, (room + 1) // 2))
    found["RECIPE"] = min(recipe, room - found["VERDICT"])
    return list(found.values())


def _gaps(heads: list[str]) -> int:
    return 2 * (len(heads) - 1)


def cut(text: str, width: int) -> str:
    """Truncate a text to ``width`` characters, with an ellipsis at the end."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _cut_inside(text: str, width: int) -> str:
    """Truncate a text to ``width`` characters, with an ellipsis in the middle."""
    # Names of recipes differ at both ends.
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return cut(text, width - end) + text[len(text) - end :]


def figure(value: float, form: str) -> str:
    """Return a figure in a format such as ".2f"; "not finite" for NaN and infinity."""
    return format(value, form) if isfinite(value) else "not finite"


def confirmed(report: Report) -> str:
    """Return a line about the winner's quality on the test rows."""
    quality, rows = report.confirmation, report.data.confirmation_rows
    if report.decision.winner is None and not rows:
        return "there is no winner to confirm"
    if not rows:
        return "not confirmed: too few rows for a test split"
    if quality is None:
        return f"{rows} rows were set aside; there is no winner to confirm"
    return (
        f"confirmed on {rows} test rows: {quality.metric} "
        f"{figure(quality.score, '.4f')} against {figure(quality.reference, '.4f')}"
    )


def cells(row: Row) -> dict[str, str]:
    """Return the cells of a candidate by column; "" for figures that were not measured."""
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
