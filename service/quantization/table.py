"""A report's candidates as text, best first; the same columns as on the page."""

from typing import Any

Row = dict[str, Any]
HEADS = ("", "RECIPE", "MB", "PACKED", "LATENCY", "ROWS/S", "MEMORY", "SCORE", "FUSED", "VERDICT")


def table(report: Row) -> str:
    """Aligned columns; ratios are to FP32."""
    rows = [report["reference"], *ranked(report)]
    lines = [HEADS, *(_cells(row, report) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def ranked(report: Row) -> list[Row]:
    """The winner, then what passes, then the rest by speed; what could not be measured last."""
    winner = report["decision"]["winner"]

    def place(row: Row) -> tuple[bool, bool, bool, float]:
        timing = row.get("timing")
        speed = timing["latency_ratio"] if timing else 0.0
        return row["name"] != winner, not row["verdict"].startswith("passes"), not timing, -speed

    return sorted(report["candidates"], key=place)


def confirmed(report: Row) -> str:
    """What the winner was worth on rows that had no part in choosing it."""
    quality, rows = report["confirmation"], report["data"]["confirmation_rows"]
    if not rows:
        return "not confirmed: too few rows to set some aside"
    if quality is None:
        return f"{rows} rows were set aside; there is no winner to confirm"
    return (
        f"confirmed on {rows} rows that chose nothing: {quality['metric']} "
        f"{quality['score']:.4f} against {quality['reference']:.4f}"
    )


def cells(row: Row) -> dict[str, str]:
    """What is shown of a candidate, by column; empty where it was not measured."""
    timing, quality = row.get("timing"), row.get("quality")
    ratio = row.get("fusion_ratio")
    return {
        "MB": f"{row['file_bytes'] / 1e6:.3g}" if "file_bytes" in row else "",
        "PACKED": f"{row['compressed_bytes'] / 1e6:.3g}" if "file_bytes" in row else "",
        "LATENCY": f"{timing['latency_ratio']:.2f} x" if timing else "",
        "ROWS/S": f"{timing['throughput_ratio']:.2f} x" if timing and not row["dropped"] else "",
        "MEMORY": f"{row['steady_bytes'] / 1e6:.0f} MB" if "steady_bytes" in row else "",
        "SCORE": f"{quality['score']:.4f}" if quality and not quality["failure"] else "",
        "FUSED": f"{ratio:.0%}" if ratio is not None else "",
    }


def _cells(row: Row, report: Row) -> tuple[str, ...]:
    mark = "*" if row["name"] == report["decision"]["winner"] else ""
    shown = cells(row)
    return mark, row["name"], *(shown[head] for head in HEADS[2:-1]), row["verdict"][:90]
