"""Renders a report as one self-contained HTML page, from the template page.html."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from service.quantization.report.plot import drop_of, plot
from service.quantization.report.report import Report
from service.quantization.report.table import cells, confirmed, figure
from service.quantization.report.told import holds_for

HEADS = (
    ("MB", "MB"), ("PACKED", "MB packed"), ("LATENCY", "speed, batch 1"),
    ("ROWS/S", "rows/s, best batch"), ("MEMORY", "memory"), ("SCORE", "score"), ("FUSED", "fused"),
)  # fmt: skip
COLOURS = (("--win", "chosen"), ("--good", "passes"), ("--bad", "does not"), ("--dim", "FP32"))


def page(report: Report) -> str:
    """Render the page. All its figures are also in report.json."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    quality = (report.winner or report.reference).quality
    outputs = quality.outputs if quality else ()
    rows = [report.reference, *report.ranked]
    return environment.from_string(template).render(
        report=report,
        kind="warn" if report.data.random else ("" if report.decision.winner else "kept"),
        beside=[*holds_for(report), confirmed(report)],
        tiles=_tiles(report),
        plot=plot(report),
        colours=COLOURS,
        heads=[(head, name.replace("rows", report.goal.unit)) for head, name in HEADS],
        rows=[(row, cells(row)) for row in rows],
        outputs=outputs,
        # Without an output of class scores, the column is left out.
        agreements=any(output.agreement is not None for output in outputs),
        figure=figure,
        facts=_facts(report),
    )


def _tiles(report: Report) -> list[tuple[str, str]]:
    row = report.winner
    if row is None or row.timing is None or row.quality is None:
        return []
    timing, quality = row.timing, row.quality
    invariant = {True: "yes", False: "no", None: "does not apply"}[row.invariant]
    return [
        (f"{figure(timing.latency_ratio, '.2f')} x", "speed at batch 1"),
        (
            f"{figure(timing.throughput_ratio, '.2f')} x",
            f"{report.goal.unit}/s, {timing.rows} a run",
        ),
        (f"{report.reference.file_bytes / row.file_bytes:.2f} x", "smaller file"),
        (f"{drop_of(quality):.2%}", f"drop of {quality.metric}"),
        (invariant, "rows independent of their batch"),
    ]


def _facts(report: Report) -> dict[str, str]:
    data, goal = report.data, report.goal
    unit = "runs" if data.by_run else "texts" if goal.unit == "tokens" else goal.unit
    software = ", ".join(f"{name} {version}" for name, version in report.software)
    return {
        "Goal": f"{goal.target}, a drop of at most {goal.max_drop:.2%}",
        "Data": f"{data.source}: {data.calibration_rows} {unit} for calibration, "
        f"{data.evaluation_rows} others for evaluation, seed {data.seed}",
        "Speed": "medians of ratios to FP32, in alternating turns in one process, with the threads "
        "and kernels of serving; the best candidates were timed again, side by side",
        "Memory": "growth of a process that loads and runs this model alone",
        "Here": " ".join(report.machine.advice),
        "Notes": " ".join(report.notes) or "none",
        "Search": f"{report.search_seconds:.0f} s",
        "Software": software,
        "SHA-256": report.hashes.model,
    }
