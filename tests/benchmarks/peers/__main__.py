"""`python -m tests.benchmarks.peers`: requests/s compared to other servers; medians of rounds.

Each peer is installed into its own virtual environment the first time (about two minutes and 1.5 GB
in all). A server that cannot be installed or started is reported; the others are measured.

Exit code 0: measured. 1: something failed. 2: cannot start.
"""

import argparse
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import orjson

from tests.benchmarks import machine, wrk
from tests.benchmarks.peers.contest import Contest
from tests.benchmarks.peers.models import SUBJECTS
from tests.benchmarks.peers.peers import PEERS
from tests.benchmarks.peers.table import markdown

FOLDER = Path(tempfile.gettempdir()) / "quantserve-peers"


def main() -> int:
    """Measure, print the tables, and write them with every single run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.peers", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--peers", type=_words, help=f"of {'; '.join(peer.name for peer in PEERS)}, with ; between")
    add("--models", type=lambda text: text.split(","), default=list(SUBJECTS), help="of T,E,M")
    add("--clients", type=_counts, default=(1, 32, 128))
    add("--rounds", type=int, default=3)
    add("--duration", type=int, default=2, help="seconds of one run")
    add("--folder", type=Path, default=FOLDER, help="for environments, models and logs")
    add("--out", type=Path, help="default: results.json in the folder; a .md goes next to it")
    given = parser.parse_args()
    if not wrk.available():
        print("cannot start: wrk is not installed (Debian: apt-get install wrk)", file=sys.stderr)
        return 2
    # a terminated benchmark must still stop its servers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    given.folder.mkdir(parents=True, exist_ok=True)
    where = machine.description()
    failures: list[str] = []
    contest = Contest(
        tuple(peer for peer in PEERS if not given.peers or peer.name in given.peers),
        tuple(SUBJECTS[name] for name in given.models),
        given.clients, given.rounds, given.duration, given.folder, failures.append,
    )  # fmt: skip
    measured = []
    for each in contest.run():
        measured.append(each)
        what = f"{each.peer}, {each.subject}, {each.wire}, {each.clients} clients"
        print(f"{what}: {each.rps:,.0f} req/s, p50 {each.p50_ms:.2f} ms", file=sys.stderr)
    text = markdown(measured, where)
    print(text)
    for failure in failures:
        print(f"FAILED {failure}")
    out = given.out or given.folder / "results.json"
    out.write_bytes(orjson.dumps([asdict(each) for each in measured], option=orjson.OPT_INDENT_2))
    out.with_suffix(".md").write_text(text)
    print(f"written: {out} and {out.with_suffix('.md')}")
    return 1 if failures else 0


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(";")]


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
