"""`python -m tests.benchmarks.workers`: the memory and the start time of further workers.

Serves the digits model with 1 to 4 workers, sends requests to all of them, and reads the
proportional set size of all processes: shared pages count once.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree

from tests.benchmarks import processes
from tests.benchmarks.protocol import Message
from tests.benchmarks.servers import ROOT, Launch, Server, says_yes, serving

MODEL = "digits"
EACH_MB = 60.0
"""Target: the most memory that a further worker may take."""
CLIENTS, REQUESTS = 8, 100


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="1,2,3,4", help="numbers of workers")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the target is missed")
    given = parser.parse_args(arguments)
    counts = [int(each) for each in given.workers.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        copytree(ROOT / "models" / MODEL, models / MODEL)
        found = {count: _measured(models, count) for count in counts}
    print("workers   MB   ready after s")
    for count, (megabytes, seconds) in found.items():
        print(f"{count:7} {megabytes:5.0f} {seconds:8.1f}")
    several = sorted(count for count in counts if count > 1)
    if len(several) < 2:
        return 0
    first, last = several[0], several[-1]
    each = (found[last][0] - found[first][0]) / (last - first)
    verdict = "met" if each <= EACH_MB else "MISSED"
    print(f"each further worker {each:.1f} MB, target {EACH_MB:.0f}: {verdict}")
    return int(given.check and each > EACH_MB)


def _measured(models: Path, count: int) -> tuple[float, float]:
    """Return the memory of a server in MB, and the seconds until all its workers were ready."""
    arguments = ("serve", "--models", str(models), "--workers", str(count))
    begun = time.monotonic()
    launch = Launch(f"{count} workers", MODEL, "service", arguments)
    with serving(launch, models.parent) as server:
        while not says_yes(server.port, "/v2/health/ready"):
            time.sleep(0.01)
        seconds = time.monotonic() - begun
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda _: _ask(server), range(CLIENTS * REQUESTS)))
        server.settle()
        return processes.proportional_mb(server.pid), seconds


def _ask(server: Server) -> None:
    body = (ROOT / "models" / MODEL / "example.json").read_bytes()
    server.ask(Message(body, "application/json"))


if __name__ == "__main__":
    sys.exit(main())
