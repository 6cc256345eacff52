"""`python -m tests.benchmarks`: one run, all servers, every number as a ratio.

Exit code 0: measured. 1: something broke, or with --check a target was missed. 2: cannot start.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks import machine, models, report, wrk
from tests.benchmarks.models import ModelError, Served
from tests.benchmarks.results import Cell, Results
from tests.benchmarks.servers import ROOT, ServerError
from tests.benchmarks.targets import judge
from tests.benchmarks.workload import Plan, Workload
from tests.benchmarks.wrk import LoadError

CACHE = Path(tempfile.gettempdir()) / "quantserve-benchmarks"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    add("--models", type=_names, default=models.NAMES, help="default: tiny,mlp,digits,encoder")
    add("--clients", type=_counts, help="default: 1,8,32,128; with --quick 1,32")
    add("--duration", type=int, help="seconds a run; default 2, with --quick 1")
    add("--rounds", type=int, default=3)
    add("--quick", action="store_true", help="fewer clients, shorter runs: about five minutes")
    add("--check", action="store_true", help="exit with 1 when a target was missed")
    add("--self-check", action="store_true", help="the HTTP limit against itself, no quantserve")
    add("--tutorial", choices=("async", "sync"), default="async", help="def or async def there")
    add("--cache", type=Path, default=CACHE, help="where the models are built")
    add("--out", type=Path, help="default: results.json in the cache; a .md goes next to it")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    absent = obstacle(args.self_check)
    if absent:
        print(f"cannot start: {absent}", file=sys.stderr)
        return 2
    # a terminated benchmark must still stop its servers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    args.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        results = measure(args.models, args.cache, plan(args, Path(scratch)))
    print(report.text(results))
    out = args.out or args.cache / "results.json"
    out.write_bytes(report.json(results))
    out.with_suffix(".md").write_text(report.markdown(results))
    print(f"written: {out} and {out.with_suffix('.md')}")
    missed = args.check and any(verdict.missed for verdict in judge(results))
    return 1 if results.broken or missed else 0


def obstacle(self_check: bool) -> str | None:
    if not wrk.available():
        return "wrk is not installed (Debian: apt-get install wrk)"
    if not self_check and not (ROOT / "service" / "__main__.py").is_file():
        return "the server is absent: there is no `service` package to run with `python -m`"
    return None


def plan(args: argparse.Namespace, scratch: Path) -> Plan:
    return Plan(
        clients=args.clients or ((1, 32) if args.quick else (1, 8, 32, 128)),
        rounds=args.rounds,
        seconds=args.duration or (1 if args.quick else 2),
        self_check=args.self_check,
        tutorial_style=args.tutorial,
        scratch=scratch,
    )


def measure(names: Iterable[str], cache: Path, plan: Plan) -> Results:
    where = machine.description()
    cells: list[Cell] = []
    settings: list[str] = []
    broken: list[str] = []
    for name in names:
        try:
            workload = Workload(prepared(name, cache), plan, note)
            cells += workload.run()
            settings.append(workload.setting)
            broken += workload.broken
        except (ModelError, ServerError, LoadError) as error:
            broken.append(f"{name}: {error}")
            note(broken[-1])
    return Results(where, plan.self_check, tuple(cells), tuple(settings), tuple(broken))


def prepared(name: str, cache: Path) -> Served:
    note(f"{name}: preparing the model")
    return models.prepare(name, cache)


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(models.NAMES):
        raise argparse.ArgumentTypeError(f"{text!r}: choose from {','.join(models.NAMES)}")
    return names


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(count) for count in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
