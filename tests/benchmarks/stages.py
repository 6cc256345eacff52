"""`python -m tests.benchmarks.stages`: the CPU time of a small request, by stage.

The tiny MLP, 32 clients, one process. py-spy samples the stacks of the server while wrk loads it; a
sample belongs to the stage of the innermost function that has one. Times are shares of the CPU time
of a request, which hardly depends on other load of the machine.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks import models, processes, protocol, wrk
from tests.benchmarks.protocol import Protocol
from tests.benchmarks.servers import Launch, Server, serving

CLIENTS, RATE = 32, 200
STAGES = {
    "parse": ("api/http1/connection.py", "api/http1/request.py"),
    "route": ("api/dataplane/routing.py", "api/dataplane/call.py", "api/transport/exchange.py"),
    "decode": (
        "api/protocol/codec.py:decode", "api/protocol/codec.py:_", "api/protocol/json_tensors.py",
        "api/protocol/binary_tensors.py", "api/protocol/non_finite.py",
    ),
    "validate": (
        "core/tensors.py", "engine/repository/version.py", "api/dataplane/choice.py",
        "api/dataplane/inference.py:_",
    ),
    "queue": (
        "engine/runtime/batcher.py", "engine/runtime/split_batcher.py", "core/batching.py",
        "core/extent.py", "core/waiting.py", "engine/repository/repository.py",
    ),
    "run": ("engine/runtime/session.py",),
    "assemble and split": ("core/assembly.py", "engine/runtime/execution.py"),
    "encode": (
        "api/protocol/codec.py", "api/transport/answers.py", "api/protocol/answer_limit.py",
        "engine/runtime/replies.py", "api/dataplane/answering.py",
    ),
    "count": (
        "core/statistics.py", "core/events.py", "core/exemplars.py",
        "api/dataplane/inference.py:finish",
    ),
    "write": ("api/http1/driver.py:reply", "api/http1/driver.py:finish", "api/http1/reply_head.py"),
    "hand over": ("api/http1/driver.py", "api/dataplane/inference.py"),
}  # fmt: skip
"""Files of ``service`` by stage, with the beginning of a function's name where a file has several.
The first that fits counts."""
REST = "event loop"
"""asyncio and uvloop: waiting for sockets, and calling back."""


def main() -> int:
    """Measure, and print a table for each wire format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10, help="of sampling, for each format")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        served = models.prepare("tiny", Path(folder))
        feed = models.inputs(served.graph, 0)
        arguments = ("serve", "--models", str(served.repository), "--no-supervisor")
        with serving(Launch("quantserve", "tiny", "service", arguments), Path(folder)) as server:
            for wire in Protocol:
                message = protocol.request(wire, feed, ("output",))
                body = Path(folder) / f"{wire}.body"
                body.write_bytes(message.content)
                load = wrk.Load(server.url, body, message)
                cost, stacks = _sampled(server, load, given.seconds, Path(folder) / "stacks")
                print(_table(wire, cost, by_stage(stacks)))
    return 0


def _sampled(
    server: Server, load: wrk.Load, seconds: int, file: Path
) -> tuple[float, list[tuple[str, int]]]:
    """Return the CPU microseconds of a request, without a profiler, and the stacks under load with
    their counts."""
    wrk.run(load, CLIENTS, 1)
    before = processes.cpu_seconds(server.pid)
    found = wrk.run(load, CLIENTS, max(2, seconds // 3))
    cost = 1e6 * (processes.cpu_seconds(server.pid) - before) / found.requests
    loading = threading.Thread(target=wrk.run, args=(load, CLIENTS, seconds + 2))
    loading.start()
    command = ["py-spy", "record", "--pid", str(server.pid), "--duration", str(seconds)]
    command += ["--rate", str(RATE), "--format", "raw", "--full-filenames", "--output", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    loading.join()
    if done.returncode:
        raise SystemExit(f"py-spy cannot sample the server: {done.stderr.strip()[-300:]}")
    lines = [line.rpartition(" ") for line in file.read_text().splitlines()]
    return cost, [(stack, int(count)) for stack, _, count in lines]


def by_stage(stacks: Iterable[tuple[str, int]]) -> Counter[str]:
    """Count the samples of each stage. A stack is "function (file:line);...", innermost last."""
    found: Counter[str] = Counter()
    for stack, count in stacks:
        stages = (stage_of(frame) for frame in reversed(stack.split(";")))
        found[next((stage for stage in stages if stage), REST)] += count
    return found


def stage_of(frame: str) -> str:
    """Return the stage of a function, or "" if it has none."""
    function, _, place = frame.partition(" (")
    file = place.rpartition(":")[0]
    name = function.rpartition(".")[2]
    for stage, places in STAGES.items():
        for wanted in places:
            path, _, begin = wanted.partition(":")
            if file.endswith(f"service/{path}") and name.startswith(begin):
                return stage
    return ""


def _table(wire: Protocol, cost: float, samples: Counter[str]) -> str:
    total = samples.total()
    lines = [
        f"{wire}: {cost:.1f} us of CPU a request, {total} samples",
        "stage                  us   %",
    ]
    for stage in (*STAGES, REST):
        share = samples[stage] / total
        lines.append(f"{stage:20} {share * cost:5.1f} {share * 100:4.0f}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
