"""A report's candidates as text, best first; the same columns as on the page."""

from typing import Any

from service.quantization.decide import Target

Row = dict[str, Any]
HEADS = ("", "RECIPE", "MB", "PACKED", "LATENCY", "ROWS/S", "MEMORY", "SCORE", "FUSED", "VERDICT")
LEAST_NEEDED = ("PACKED", "FUSED", "MEMORY")
NARROWEST = 8


def table(report: Row, width: int | None = None) -> str:
    """Aligned columns; ratios are to FP32. ``width`` is what a terminal has, if that is where it
    goes: what is least needed to choose is left out, and long names and verdicts are cut."""
    rows = [report["reference"], *ranked(report)]
    shown = list(HEADS)
    for dropped in ("", *LEAST_NEEDED):
        shown = [head for head in shown if head != dropped or not head]
        lines = [shown, *([_cells(row, report)[head] for head in shown] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        if width is None or sum(widths) + 2 * len(widths) <= width:
            break
    if width is not None:
        widths = _narrowed(shown, widths, width)
    return "\n".join(
        "  ".join(cut(c, w).ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _narrowed(heads: list[str], widths: list[int], width: int) -> list[int]:
    """Widths that fit: the verdict gives way first, then the recipe."""
    found = dict(zip(heads, widths, strict=True))
    for head in ("VERDICT", "RECIPE"):
        over = sum(found.values()) + 2 * len(found) - width
        found[head] = max(min(found[head], NARROWEST), found[head] - max(0, over))
    return list(found.values())


def cut(text: str, width: int) -> str:
    """A text, with an ellipsis for its end where it is too long."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


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
