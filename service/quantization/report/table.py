"""A report's candidates as text, best first; the same columns as on the page."""

from typing import Any

from service.quantization.search.decide import Target

Row = dict[str, Any]
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


def table(report: Row, width: int | None = None) -> str:
    """Aligned columns; ratios are to FP32. ``width`` is what a terminal has, if that is where it
    goes: what is least needed to choose is left out before long names and verdicts are cut."""
    kept = TARGETS[Target(report["goal"]["target"])]
    rows = [report["reference"], *ranked(report)]
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


def ranked(report: Row) -> list[Row]:
    """The winner, then what passes, then the rest, each by what was to become better; what could
    not be measured last."""
    winner, target = report["decision"]["winner"], report["goal"]["target"]

    def place(row: Row) -> tuple[bool, bool, bool, float]:
        passes = row["verdict"].startswith("passes")
        return row["name"] != winner, not passes, not row.get("timing"), -_merit(row, target)

    return sorted(report["candidates"], key=place)


def figure(value: float | None, form: str) -> str:
    """A figure in its form; null in a report stands for one that was NaN or infinite."""
    return "not finite" if value is None else format(value, form)


def _merit(row: Row, target: str) -> float:
    """More is better."""
    if not row.get("timing"):
        return 0.0
    if target == Target.SIZE:
        return -float(row["file_bytes"])
    if target == Target.MEMORY:
        return -float(row["steady_bytes"])
    together = target == Target.THROUGHPUT and not row["dropped"]
    return float(row["timing"]["throughput_ratio" if together else "latency_ratio"] or 0.0)


def confirmed(report: Row) -> str:
    """What the winner was worth on rows that had no part in choosing it."""
    quality, rows = report["confirmation"], report["data"]["confirmation_rows"]
    if report["decision"]["winner"] is None and not rows:
        return "there is no winner to confirm"
    if not rows:
        return "not confirmed: too few rows to set some aside"
    if quality is None:
        return f"{rows} rows were set aside; there is no winner to confirm"
    return (
        f"confirmed on {rows} rows that chose nothing: {quality['metric']} "
        f"{figure(quality['score'], '.4f')} against {figure(quality['reference'], '.4f')}"
    )


def cells(row: Row) -> dict[str, str]:
    """What is shown of a candidate, by column; empty where it was not measured."""
    timing, quality = row.get("timing"), row.get("quality")
    ratio = row.get("fusion_ratio")
    return {
        "MB": f"{row['file_bytes'] / 1e6:.3g}" if "file_bytes" in row else "",
        "PACKED": f"{row['compressed_bytes'] / 1e6:.3g}" if "file_bytes" in row else "",
        "LATENCY": f"{figure(timing['latency_ratio'], '.2f')} x" if timing else "",
        "ROWS/S": f"{figure(timing['throughput_ratio'], '.2f')} x"
        if timing and not row["dropped"]
        else "",
        "MEMORY": f"{row['steady_bytes'] / 1e6:.0f} MB" if "steady_bytes" in row else "",
        "SCORE": figure(quality["score"], ".4f") if quality and not quality["failure"] else "",
        "FUSED": figure(ratio, ".0%") if ratio is not None else "",
    }


def _cells(row: Row, report: Row) -> dict[str, str]:
    mark = "*" if row["name"] == report["decision"]["winner"] else ""
    return {"": mark, "RECIPE": row["name"], **cells(row), "VERDICT": row["verdict"][:90]}
