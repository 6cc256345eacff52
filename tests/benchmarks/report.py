"""Results as text, Markdown and JSON: one list of tables in three formats."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import orjson

from tests.benchmarks.results import Cell, Ratio, Results, Run, Series
from tests.benchmarks.targets import Verdict, judge

BLANK = ""
NOISE = 0.15
SAME = 0.05
COLUMNS = (
    "wire", "clients", "server", "req/s", "p50 ms", "p99 ms", "CPU ms/req", "RSS MB",
    "peak MB", "req/s : HTTP", "p50 : HTTP", "rows/s : compute", "req/s : FastAPI",
)  # fmt: skip
SUMMARY_COLUMNS = ("target", "wanted", "reached", "lowest..highest round", "verdict")
FIGURES: tuple[tuple[Callable[[Run], float], int], ...] = (
    (lambda run: run.requests_per_second, 0),
    (lambda run: run.p50_ms, 2),
    (lambda run: run.p99_ms, 2),
    (lambda run: run.cpu_ms, 3),
    (lambda run: run.rss_mb, 0),
    (lambda run: run.peak_mb, 0),
)


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def text(results: Results) -> str:
    parts = ["\n".join(_head(results)), *map(_aligned, _tables(results)), _notes(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(results: Results) -> str:
    head = "\n".join(f"- {line}" for line in _head(results))
    parts = [head, *map(_piped, _tables(results)), _notes(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def json(results: Results) -> bytes:
    verdicts = [
        {
            "target": verdict.target.what,
            "bound": verdict.target.bound,
            "at_most": verdict.target.at_most,
            "reached": verdict.reached and asdict(verdict.reached),
            "verdict": _verdict(verdict),
        }
        for verdict in judge(results)
    ]
    return orjson.dumps(asdict(results) | {"targets": verdicts}, option=orjson.OPT_INDENT_2)


def _head(results: Results) -> tuple[str, ...]:
    return (*results.machine, _quiet(results))


def _quiet(results: Results) -> str:
    foreign = results.foreign_cores()
    verdict = "" if foreign < NOISE else " - TOO MUCH for numbers to be believed"
    return f"other processes kept {foreign:.2f} cores busy in the median run{verdict}"


def _tables(results: Results) -> list[Table]:
    workloads = dict.fromkeys(cell.workload for cell in results.cells)
    tables = [
        Table(
            _title(workload, results),
            COLUMNS,
            tuple(
                row for cell in results.cells if cell.workload == workload for row in _rows(cell)
            ),
        )
        for workload in workloads
    ]
    return [*tables, _sameness(results) if results.self_check else _summary(results)]


def _title(workload: str, results: Results) -> str:
    setting = next((text for text in results.compute_settings if text.startswith(workload)), "")
    rows = [rate for cell in results.cells if cell.workload == workload
            for rate in cell.compute_rows_per_second]  # fmt: skip
    return f"{setting}; compute limit {sorted(rows)[len(rows) // 2]:,.0f} rows/s"


def _rows(cell: Cell) -> list[tuple[str, ...]]:
    ours = (
        _number(cell.throughput_to_http()),
        _number(cell.p50_to_http()),
        _number(cell.rows_to_compute()),
        _number(cell.throughput_to_tutorial()),
    )
    nothing = (BLANK,) * len(ours)
    rows = [_row(cell, cell.http_limit, nothing), _row(cell, cell.candidate, ours)]
    if cell.tutorial is not None:
        rows.append(_row(cell, cell.tutorial, nothing))
    return rows


def _row(cell: Cell, series: Series, ratios: tuple[str, ...]) -> tuple[str, ...]:
    figures = [f"{series.middle(figure):,.{digits}f}" for figure, digits in FIGURES]
    return (cell.protocol, str(cell.clients), series.server, *figures, *ratios)


def _summary(results: Results) -> Table:
    rows = []
    for verdict in judge(results):
        target, reached = verdict.target, verdict.reached
        sign = "<=" if target.at_most else ">="
        spread = f"{reached.low:.2f}..{reached.high:.2f}" if reached else BLANK
        wanted = f"{sign} {target.bound:g}{target.unit}"
        rows.append((target.what, wanted, _number(reached), spread, _verdict(verdict)))
    return Table("Targets", SUMMARY_COLUMNS, tuple(rows))


def _sameness(results: Results) -> Table:
    """Compare the harness with itself: two equal servers must have equal results."""
    rows = []
    for cell in results.cells:
        ratio = cell.throughput_to_http()
        within = abs(ratio.middle - 1) <= SAME
        spread = f"{ratio.low:.2f}..{ratio.high:.2f}"
        where = f"{cell.workload}, {cell.protocol}, {cell.clients} clients"
        rows.append((where, f"1 +- {SAME}", _number(ratio), spread, "pass" if within else "OFF"))
    return Table("Self-check: the HTTP limit against itself", SUMMARY_COLUMNS, tuple(rows))


def _verdict(verdict: Verdict) -> str:
    if verdict.reached is None:
        return "not measured"
    return "MISSED" if verdict.missed else "pass"


def _number(ratio: Ratio | None) -> str:
    return BLANK if ratio is None else f"{ratio.middle:.2f}"


def _notes(results: Results) -> str:
    return "\n".join(f"BROKEN  {line}" for line in results.broken)


def _aligned(table: Table) -> str:
    lines = (table.columns, *table.rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = {index for index, name in enumerate(table.columns) if name in {"server", "target"}}

    def line(cells: tuple[str, ...]) -> str:
        padded = [
            cell.ljust(width) if index in words else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([table.title, *map(line, lines)])


def _piped(table: Table) -> str:
    lines = (table.columns, ("---",) * len(table.columns), *table.rows)
    return "\n".join([f"### {table.title}", "", *(f"| {' | '.join(line)} |" for line in lines)])
