"""The results as Markdown: medians over the rounds."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from tests.benchmarks.peers.contest import Measured
from tests.benchmarks.peers.models import SUBJECTS
from tests.benchmarks.peers.peers import QUANTSERVE

Figure = Callable[[Measured], float]


def markdown(measured: Sequence[Measured], machine: Iterable[str]) -> str:
    """Return a table for each model and wire format: requests/s of each server by clients, and the
    cost of a request with the most and the fewest clients."""
    parts = ["\n".join(f"- {line}" for line in machine)]
    for subject, wire in dict.fromkeys((each.subject, each.wire) for each in measured):
        rows = [each for each in measured if each.subject == subject and each.wire is wire]
        parts.append(f"### {subject}: {SUBJECTS[subject].title}; {wire}\n\n{_table(rows)}")
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Measured]) -> str:
    clients = sorted({row.clients for row in rows})
    busy = 32 if 32 in clients else clients[-1]
    peers = {row.peer for row in rows if not row.peer.startswith(QUANTSERVE)}
    best = max([_middle(rows, name, busy, _rps) or 0.0 for name in peers], default=0.0)
    head = ["server", *[f"req/s, {each}" for each in clients], f"to the best peer, {busy}"]
    head += [f"p50 ms, {clients[0]}", f"p99 ms, {busy}", f"CPU ms, {busy}", "MB", "answers"]
    lines = [head, ["---"] * len(head)]
    names = dict.fromkeys(row.peer for row in rows)
    for name in sorted(names, key=lambda each: -(_middle(rows, each, busy, _rps) or 0)):
        of = [row for row in rows if row.peer == name]
        rate = _middle(rows, name, busy, _rps)
        lines.append([
            name,
            *[_shown(_middle(rows, name, each, _rps), 0) for each in clients],
            _shown(rate / best if rate and best else None, 2),
            _shown(_middle(rows, name, clients[0], lambda row: row.p50_ms), 2),
            _shown(_middle(rows, name, busy, lambda row: row.p99_ms), 1),
            _shown(_middle(rows, name, busy, lambda row: row.cpu_ms), 3),
            _shown(max(row.rss_mb for row in of), 0),
            "the row's own" if all(row.exact for row in of) else "depend on the batch",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rps(row: Measured) -> float:
    return row.rps


def _middle(rows: Sequence[Measured], name: str, clients: int, figure: Figure) -> float | None:
    found = [figure(row) for row in rows if row.peer == name and row.clients == clients]
    return median(found) if found else None


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
