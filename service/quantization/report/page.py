"""A report as one HTML page: opened from disk, it needs nothing else."""

from html import escape

from service.quantization.report.plot import drop_of, plot
from service.quantization.report.report import Report, Row
from service.quantization.report.table import cells, confirmed, figure
from service.quantization.report.told import holds_for

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #667085; --paper: #fff; --line: #e4e7ec;
  --soft: #f7f8fa; --good: #12805c; --field: #12805c14; --bad: #b42318; --win: #0b6bcb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --dim: #98a2b3; --paper: #14181f;
  --line: #2b323d; --soft: #1b212a; --good: #3ecf9a; --field: #3ecf9a18; --bad: #f97066;
  --win: #53b1fd; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 17px; margin: 36px 0 10px; }
.sub { color: var(--dim); margin: 2px 0 22px; }
.decision { border-left: 4px solid var(--win); background: var(--soft); padding: 14px 18px;
  border-radius: 0 8px 8px 0; } .decision.kept { border-color: var(--dim); }
.decision.warn { border-color: var(--bad); }
.decision b { font-size: 17px; display: block; }
.decision i { display: block; font-style: normal; color: var(--dim); margin-top: 4px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 18px 0 0; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 24px; line-height: 1.25; }
.tile span { color: var(--dim); font-size: 13px; }
svg { width: 100%; min-width: 720px; height: auto; display: block; border: 1px solid var(--line);
  border-radius: 8px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim); pointer-events: none; }
svg .axis { font-weight: 600; } svg .grid { stroke: var(--line); }
svg .field { fill: var(--field); }
svg .hint { fill: var(--good); } svg .name { fill: var(--ink);
  paint-order: stroke; stroke: var(--paper); stroke-width: 5px; }
svg .number { font-size: 11px; fill: var(--ink); }
svg .lead { stroke: var(--dim); }
svg .name.winner { font-weight: 700; fill: var(--win); }
svg .frontier { fill: none; stroke: var(--ink); stroke-opacity: .55; stroke-width: 1.5;
  stroke-dasharray: 6 4; }
svg circle { fill-opacity: .45; stroke-width: 1.5; }
svg circle.passes { fill: var(--good); stroke: var(--good); }
svg circle.fails { fill: var(--bad); stroke: var(--bad); fill-opacity: .22; }
svg circle.reference { fill: var(--dim); stroke: var(--dim); }
svg circle.winner { fill: var(--win); stroke: var(--win); fill-opacity: .75; }
svg circle.rough { fill: none; stroke-dasharray: 3 3; }
.key { color: var(--dim); font-size: 13px; margin: 10px 2px 22px; }
.key span { white-space: nowrap; margin-right: 14px; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 5px; }
.scroll { overflow-x: auto; }
.scroll.fastest { direction: rtl; } .fastest svg { direction: ltr; } /* begins at the right end */
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th { text-align: left; color: var(--dim); font-weight: 600; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { vertical-align: bottom; line-height: 1.25; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td.n { white-space: nowrap; }
td.recipe { min-width: 330px; } td.verdict { min-width: 200px; } .plain table { width: auto; }
.plain td, .plain th { padding-right: 28px; }
tr.winner td { background: color-mix(in srgb, var(--win) 10%, transparent); font-weight: 600; }
tr.reference td, td.fail { color: var(--dim); } td.pass { color: var(--good); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; }
dt { color: var(--dim); } dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
@media (max-width: 600px) { body { padding: 20px 14px 40px; }
  .plain td, .plain th { padding-right: 14px; }
  dl { grid-template-columns: 1fr; } dd { margin-bottom: 8px; }
  /* A candidate is a card: its verdict and recipe, then the figures with their names. */
  .candidates, .candidates tbody { display: block; } .candidates .heads { display: none; }
  .candidates tr { display: flex; flex-wrap: wrap; gap: 0 16px; padding: 10px 8px;
    border-bottom: 1px solid var(--line); }
  .candidates td { border: 0; padding: 0; order: 2; }
  .candidates tr.winner { background: color-mix(in srgb, var(--win) 10%, transparent); }
  .candidates tr.winner td { background: none; }
  .candidates .verdict, .candidates .recipe { min-width: 0; overflow-wrap: anywhere; }
  .candidates .verdict { order: 0; flex: 0 0 100%; } .candidates .number { order: 1; }
  .candidates .number:empty, .candidates .n:empty { display: none; }
  .candidates .recipe { order: 1; flex: 1 0 calc(100% - 34px); font-size: 14px; }
  .candidates .n[data-head] { margin-top: 4px; text-align: left; }
  .candidates .n[data-head]::before { content: attr(data-head) " "; color: var(--dim);
    font-weight: 400; } }
"""
HEADS = (
    ("MB", "MB"), ("PACKED", "MB packed"), ("LATENCY", "speed, batch 1"),
    ("ROWS/S", "rows/s, best batch"), ("MEMORY", "memory"), ("SCORE", "score"), ("FUSED", "fused"),
)  # fmt: skip


def page(report: Report) -> str:
    """The page; every number in it is in report.json as well."""
    name = escape(report.name)
    return "\n".join([
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}: quantization report</title><style>{STYLE}</style></head><body>",
        f"<h1>{name}</h1><p class='sub'>quantization report, {report.created:%Y-%m-%d %H:%M} UTC, "
        f"{escape(report.machine.cpu)}, threads a run: {report.threads}</p>",
        _decision(report), _tiles(report),
        "<h2>Candidates</h2><div class='scroll fastest'>", plot(report), "</div>", _key(),
        "<div class='scroll'>", _table(report), "</div>",
        "<h2>Quality of the outputs</h2><div class='scroll plain'>", _outputs(report), "</div>",
        "<h2>How it was measured</h2>", _facts(report), "</body></html>\n",
    ])  # fmt: skip


def _decision(report: Report) -> str:
    winner = report.decision.winner
    kind = "warn" if report.data.random else ("" if winner else "kept")
    head = escape(winner or "FP32 stays")
    reason = escape(report.decision.reason)
    also = escape("; ".join([*holds_for(report), confirmed(report)]))
    return f'<div class="decision {kind}"><b>{head}</b>{reason}<i>{also}</i></div>'


def _tiles(report: Report) -> str:
    row = report.winner
    if row is None or row.timing is None or row.quality is None:
        return ""
    timing, quality = row.timing, row.quality
    drop = drop_of(quality)
    invariant = {True: "yes", False: "no", None: "does not apply"}[row.invariant]
    tiles = (
        (f"{figure(timing.latency_ratio, '.2f')} x", "speed at batch 1"),
        (f"{figure(timing.throughput_ratio, '.2f')} x", f"rows/s, {timing.rows} a run"),
        (f"{report.reference.file_bytes / row.file_bytes:.2f} x", "smaller file"),
        (f"{drop:.2%}", f"drop of {escape(quality.metric)}"),
        (invariant, "rows independent of their batch"),
    )
    shown = "".join(f'<div class="tile"><b>{a}</b><span>{b}</span></div>' for a, b in tiles)
    return f'<div class="tiles">{shown}</div>'


def _key() -> str:
    colours = (("--win", "chosen"), ("--good", "passes"), ("--bad", "does not"), ("--dim", "FP32"))
    dots = "".join(
        f'<span><i style="background: var({colour})"></i>{words}</span>'
        for colour, words in colours
    )
    return (
        f'<p class="key">{dots}<br>Numbers are rows of the table. The larger the disc, the larger '
        "the file; a dashed one was dropped after a few runs. The dashed line is the frontier: "
        "nothing measured lies right of it or above.</p>"
    )


def _table(report: Report) -> str:
    heads = "".join(f'<th class="n">{words}</th>' for _, words in HEADS)
    rows = [report.reference, *report.ranked]
    body = "".join(_row(row, report, number) for number, row in enumerate(rows))
    return (
        '<table class="candidates"><tr class="heads"><th class="n"></th><th>recipe</th>'
        f"{heads}<th>verdict</th></tr>{body}</table>"
    )


def _row(row: Row, report: Report, number: int) -> str:
    shown = cells(row)
    kind = "winner" if row is report.winner else ""
    kind = "reference" if row is report.reference else kind
    numbers = "".join(
        f'<td class="n" data-head="{words}">{shown[head]}</td>' for head, words in HEADS
    )
    colour = "pass" if row.verdict.passes else "fail"
    return (
        f'<tr class="{kind}"><td class="n number">{number or ""}</td>'
        f'<td class="recipe">{escape(row.name)}</td>{numbers}'
        f'<td class="verdict {colour}">{escape(row.verdict.text)}</td></tr>'
    )


def _outputs(report: Report) -> str:
    quality = (report.winner or report.reference).quality
    heads = ["output", "cosine", "SQNR, dB", "worst slice", "its cosine"]
    outputs = quality.outputs if quality else ()
    lines = [
        [o.name, figure(o.cosine, ".5f"), figure(o.sqnr, ".1f"), str(o.worst_slice),
         figure(o.worst_cosine, ".4f")]
        for o in outputs
    ]  # fmt: skip
    agreements = [o.agreement for o in outputs]
    if any(each is not None for each in agreements):  # embeddings and quantities have none
        heads.insert(1, "top-1 agreement")
        for line, each in zip(lines, agreements, strict=True):
            line.insert(1, "-" if each is None else f"{each:.4f}")
    head = "".join(f"<th>{words}</th>" for words in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _facts(report: Report) -> str:
    data, goal = report.data, report.goal
    unit = "runs" if data.by_run else "rows"
    software = ", ".join(f"{name} {version}" for name, version in report.software)
    facts = {
        "Goal": f"{goal.target}, a drop of at most {goal.max_drop:.2%}",
        "Data": f"{data.source}: {data.calibration_rows} {unit} to calibrate on, "
        f"{data.evaluation_rows} others to choose by, seed {data.seed}",
        "Speed": "medians of ratios to FP32 in turns, in one process, with the threads and kernels "
        "of serving; the best were timed again, side by side",
        "Memory": "growth of a process that loads and runs this model alone",
        "Here": " ".join(report.machine.advice),
        "Notes": " ".join(report.notes) or "none",
        "Search": f"{report.search_seconds:.0f} s",
        "Software": software,
        "SHA-256": report.hashes.model,
    }
    return "<dl>" + "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"
