"""`python -m tests.benchmarks.swap`: the cost of a swap for concurrent requests, and in memory.

Latency: a constant stream of requests to the digit model, alternately with and without swaps; every
swap loads its version anew. Both latencies are compared with each other, in one run. Memory: the
process after each of many swaps between two versions of a sentence encoder.
"""

import argparse
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any

import numpy as np

from service.commands.line_plot import Line, svg
from tests.benchmarks import machine, models, processes, protocol
from tests.benchmarks.models import ModelError
from tests.benchmarks.protocol import Protocol
from tests.benchmarks.servers import ADMIN_KEY, ROOT, Launch, Server, serving

TARGET_P99 = 2.0
TARGET_MEMORY = 1.1
CALM_SECONDS = 0.5
"""Of requests before the first swap are counted too."""
SETTLED = 10
"""The memory after this many swaps is the reference for all later ones."""
FRESH = "\n[versions]\nkeep_previous = false\n"
"""Without a warm previous version every swap is a whole one."""


@dataclass(frozen=True, slots=True)
class Swap:
    """The times of the request and the answer, and the content of the answer."""

    asked: float
    answered: float
    answer: dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="of constant load; the median counts")
    add("--seconds", type=float, default=15.0, help="a round")
    add("--rate", type=float, default=100.0, help="requests a second")
    add("--swaps", type=int, default=200, help="for the memory curve; 0 leaves it out")
    add("--output", type=Path, default=Path(tempfile.gettempdir()) / "quantserve-benchmarks")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    print("\n".join(machine.description()), "\n")
    with tempfile.TemporaryDirectory() as scratch:
        passed = latency(arguments, Path(scratch, "latency"))
        if arguments.swaps:
            passed &= memory(arguments, Path(scratch, "memory"))
    return 0 if passed else 1


def latency(arguments: argparse.Namespace, scratch: Path) -> bool:
    shutil.copytree(ROOT / "models/digits", scratch / "models/digits")
    with (scratch / "models/digits/model.toml").open("a") as file:
        file.write(FRESH)
    body = scratch / "body"
    feed = models.inputs(scratch / "models/digits/2/model.onnx", 0)
    question = protocol.request(Protocol.BINARY, feed, ("probabilities",))
    body.write_bytes(question.content)
    launch = Launch("quantserve", "digits", "service", _serve(scratch / "models"))
    with serving(launch, scratch) as server:
        command = [sys.executable, "-m", "tests.benchmarks.paced", "--port", str(server.port)]
        command += ["--path", server.path, "--body", str(body), "--out", str(scratch / "out.npy")]
        command += ["--header-length", str(question.header_length)]
        command += ["--rate", str(arguments.rate), "--seconds", str(arguments.seconds)]
        for version in (1, 2):
            swap(server, version)  # what is done for the first time takes longer, in any server
        rounds, ratios = [], []
        for _ in range(arguments.rounds):
            rounds.append(one_round(server, command, arguments.seconds))
            ratios.append(tell_latency(np.load(scratch / "out.npy"), rounds[-1]))
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    ratio = median(ratios)
    print(f"p99 during swaps / without: {shown}: {ratio:.2f} (target: at most {TARGET_P99:g})\n")
    tell_phases([each for swaps in rounds for each in swaps])
    return ratio <= TARGET_P99


def one_round(server: Server, command: Sequence[str], seconds: float) -> list[Swap]:
    """Alternate between swaps and pauses while requests are sent."""
    swaps: list[Swap] = []
    with subprocess.Popen(command, cwd=ROOT) as load:
        sleep(CALM_SECONDS + 1)  # the stream's first second is not counted
        end = monotonic() + seconds - CALM_SECONDS - 2
        while load.poll() is None and monotonic() < end:
            swaps.append(swap(server, 1 + len(swaps) % 2))
            sleep(max(0.2, swaps[-1].answered - swaps[-1].asked))
    return swaps


def tell_latency(rows: np.ndarray, swaps: Sequence[Swap]) -> float:
    """Print one round; return the ratio of its 99th percentiles, infinite for a lost request."""
    due, done, status = rows[rows[:, 0] > swaps[0].asked - CALM_SECONDS].T
    during = np.zeros(len(due), bool)
    for each in swaps:
        during |= (due < each.answered) & (done > each.asked)
    milliseconds = (done - due) * 1e3
    lost = np.count_nonzero(status != 200)
    print(f"{len(due)} requests, {len(swaps)} swaps, {lost} not answered")
    print(f"{'':14}{'requests':>9}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    p99 = []
    for name, values in (
        ("without swap", milliseconds[~during]),
        ("during swaps", milliseconds[during]),
    ):
        p50, last = np.percentile(values, (50, 99))
        p99.append(last)
        print(f"{name:14}{len(values):9}{p50:9.2f}{last:9.2f}{values.max():9.2f}")
    return inf if lost else float(p99[1] / p99[0])


def tell_phases(swaps: Sequence[Swap]) -> None:
    seconds = defaultdict(list)
    for each in swaps:
        for phase in each.answer["phases"]:
            seconds[phase["name"]].append(phase["seconds"] * 1e3)
        seconds["whole swap"].append((each.answered - each.asked) * 1e3)
    print(f"{'phase':14}{'median ms':>10}{'max ms':>9}")
    for name, values in seconds.items():
        print(f"{name:14}{median(values):10.2f}{max(values):9.2f}")
    print()


def memory(arguments: argparse.Namespace, scratch: Path) -> bool:
    try:
        prepared = models.prepare("encoder", arguments.output)
    except ModelError as error:
        print(f"no sentence encoder, so no memory curve: {error}")
        return True
    folder = scratch / "models" / prepared.name
    shutil.copytree(prepared.repository / prepared.name, folder)
    shutil.copytree(folder / "1", folder / "2")
    with (folder / "model.toml").open("a") as file:
        file.write(FRESH)
    launch = Launch("quantserve", prepared.name, "service", _serve(scratch / "models"))
    held, swaps = [], []
    with serving(launch, scratch) as server:
        for number in range(arguments.swaps):
            swaps.append(swap(server, 1 + number % 2))
            held.append(processes.memory(server.pid).rss_mb)
    return tell_memory(held, swaps, arguments.output)


def tell_memory(held: Sequence[float], swaps: Sequence[Swap], output: Path) -> bool:
    reference, last = held[min(SETTLED, len(held)) - 1], median(held[-SETTLED:])
    target = output / "swap-memory.svg"
    title = f"Memory of the server over {len(held)} swaps of a sentence encoder"
    target.write_text(svg(title, "swaps", "MB in RAM", [Line("after a swap", held)]))
    print(
        f"memory after {SETTLED} swaps {reference:.0f} MB, after the last {SETTLED} of {len(held)}"
    )
    print(f"{last:.0f} MB (median): {last / reference:.2f} (target: at most {TARGET_MEMORY});")
    print(f"largest in between {max(held):.0f} MB; {target}\n")
    tell_phases(swaps)
    return last / reference <= TARGET_MEMORY


def swap(server: Server, version: int) -> Swap:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    asked = monotonic()
    body = json.dumps({"version": version})
    path, headers = f"/admin/models/{server.model}/swap", {"X-API-Key": ADMIN_KEY}
    connection.request("POST", path, body, headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    if "error" in answer:
        raise SystemExit(f"the swap was refused: {answer['error']}")
    return Swap(asked, monotonic(), answer)


def _serve(folder: Path) -> tuple[str, ...]:
    return ("serve", "--models", str(folder), "--host", "127.0.0.1")


if __name__ == "__main__":
    sys.exit(main())
