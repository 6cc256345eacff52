"""Requests/s with the settings of `quantserve tune`, compared to the defaults, alternately.

    python -m tests.benchmarks.tune [--models digits,encoder] [--rounds 9] [--seconds 20]

Both servers run at the same time, one of them idle; the first one changes with each round. A model
that `tune` leaves at the default is served twice in the same way: its ratio shows the noise.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.benchmarks import models, protocol, wrk
from tests.benchmarks.models import Served
from tests.benchmarks.protocol import Protocol
from tests.benchmarks.servers import ROOT, Launch, serving

LEAST = 0.98


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tune", description=__doc__)
    parser.add_argument("--models", default="digits,encoder", help="of tiny,mlp,digits,encoder")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--duration", type=int, default=2, help="whole seconds a run")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20, help="of tuning")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target was missed")
    given = parser.parse_args()
    missed = False
    print(f"load average before: {os.getloadavg()[0]:.1f}")
    for name in given.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            served = models.prepare(name, home)
            told = _tuned(served, given.seconds)
            pairs = _rates(served, told["settings"], home, given)
        ratio = median(tuned / plain for plain, tuned in pairs)
        plain, tuned = (median(column) for column in zip(*pairs, strict=True))
        missed |= ratio < LEAST
        print(f"{name}: untuned {plain:,.0f}/s, tuned {tuned:,.0f}/s, ratio {ratio:.2f}")
        print(f"  default: {told['default']}\n  chosen: {told['chosen']}: {told['why']}")
        if told["unsure"]:
            print(f"  unsure: {told['unsure']}")
    return 1 if given.check and missed else 0


def _tuned(served: Served, seconds: float) -> dict[str, str]:
    command = [sys.executable, "-m", "service", "tune", served.name, "--json"]
    command += ["--models", str(served.repository), "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told: dict[str, str] = json.loads(done.stdout)
    if told["chosen"] == told["default"]:
        told["settings"] = ""
    return told


def _rates(
    served: Served, settings: str, home: Path, given: argparse.Namespace
) -> list[tuple[float, float]]:
    """Return the requests/s of both, untuned first, in each round."""
    tuned = home / "tuned"
    shutil.copytree(served.repository, tuned)
    path = tuned / served.name / "model.toml"
    # A section may stand in a file only once.
    before = path.read_text() if path.exists() else ""
    if settings and any(head in before for head in ("[instances]", "[batching]", "[session]")):
        raise SystemExit(f"{served.name} sets by hand what is tuned: nothing to compare")
    path.write_text(f"{before}\n{settings}\n")
    message = protocol.request(Protocol.BINARY, models.inputs(served.graph, 0), ())
    body = home / "body"
    body.write_bytes(message.content)
    launches = [
        Launch(kind, served.name, "service", ("serve", "--models", str(folder)))
        for kind, folder in (("untuned", served.repository), ("tuned", tuned))
    ]
    pairs = []
    with serving(launches[0], home) as first, serving(launches[1], home) as second:
        loads = [wrk.Load(server.url, body, message) for server in (first, second)]
        for number in range(given.rounds):
            rates = [0.0, 0.0]
            for place in (0, 1) if number % 2 == 0 else (1, 0):
                outcome = wrk.run(loads[place], given.clients, given.duration)
                rates[place] = outcome.requests / outcome.seconds
            pairs.append((rates[0], rates[1]))
    return pairs


if __name__ == "__main__":
    sys.exit(main())
