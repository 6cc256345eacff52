"""``quantserve bench``: requests/s and latency of a model on a running server."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from service.bench.bodies import JSON, Body, Request, binary_body, json_body, shapes
from service.bench.figures import Run, head, line, notes, reason, run_of, values
from service.bench.loops import Load, Observed, ask_each, closed_loop, open_loop
from service.bench.rows import MADE_UP, Rows, find, from_file
from service.bench.wire import Answer, Server
from service.client import Client, Document, Refused, Unreachable
from service.commands.extra import show, tell
from service.commands.open_files import allow_connections
from service.commands.remote import READ_EPILOG, describe_remote, reader_of, tell_refusal

FORMATS: dict[str, Callable[[Request], Body]] = {"json": json_body, "binary": binary_body}
MOST_CLIENTS = 10_000
CONNECTIONS = 64
"""The default number of connections of an open loop."""


class Plan(NamedTuple):
    """The requests to send: a path, bodies by format, and the rows that they are built from."""

    path: str
    bodies: dict[str, tuple[Body, ...]]
    rows: Rows


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the model, the rows and the load."""
    describe_remote(parser)
    parser.epilog = f"{READ_EPILOG} Exit code 1: a request was not answered with status 200."
    add = parser.add_argument
    add(
        "--version",
        type=_count,
        metavar="N",
        help="a loaded version (default: the serving one)",
    )
    add("--data", type=Path, metavar="FILE",
        help="rows: a JSON request, V2 or V1, which is sent unchanged, or an .npz file with an "
        "array for each input (default: the model's example.json or golden.npz, else the "
        "server's example, else random values that fit the server's metadata)")  # fmt: skip
    add("--models", type=Path, default=Path("models"), metavar="DIR",
        help="where to look for example.json and golden.npz (default: models)")  # fmt: skip
    add("--rows", type=_count, default=1, metavar="N", help="rows in each request (default: 1)")
    add("--format", type=_formats, default=tuple(FORMATS), metavar="LIST",
        help="json, binary or both (default: json,binary)")  # fmt: skip
    add("--concurrency", type=_counts, metavar="LIST",
        help="numbers of clients of a closed loop, each of which waits for its answer (default: "
        f"1,8,32); with --rate, the maximum connections (default: {CONNECTIONS})")  # fmt: skip
    add("--rate", type=_rates, default=(), metavar="LIST",
        help="requests per second of an open loop, which are due at fixed times; latency counts "
        "from the due time")  # fmt: skip
    add("--duration", type=_seconds, default=5.0, metavar="SECONDS",
        help="duration of each run (default: 5)")  # fmt: skip
    add("--timeout", type=_seconds, default=10.0, metavar="SECONDS",
        help="how long to wait for answers after the end of a run (default: 10)")  # fmt: skip
    add("--json", action="store_true", help="print JSON")


def run(flags: dict[str, Any]) -> int:
    """Measure and print the results. Returns the exit code.

    Raises:
        ConfigError, Unreachable
    """
    allow_connections()
    client = reader_of(flags["url"], os.environ)
    name, version = flags["name"], flags["version"]
    below = f"/v2/models/{quote(name, safe='')}" + (f"/versions/{version}" if version else "")
    try:
        metadata = client.get(below)
    except Refused as refused:
        return tell_refusal(refused)
    plan = _plan(client, below, metadata, flags)
    return _measure(client, plan, metadata, flags)


def _plan(client: Client, below: str, metadata: Document, flags: dict[str, Any]) -> Plan:
    rows = (
        from_file(flags["data"], metadata, flags["rows"])
        if flags["data"]
        else find(client, flags["models"], metadata, flags["rows"])
    )
    if rows.v1:
        path = "/v1" + below.removeprefix("/v2") + ":predict"
        return Plan(path, {"v1": (Body(JSON, rows.v1),)}, rows)
    bodies = {name: tuple(map(FORMATS[name], rows.requests)) for name in flags["format"]}
    return Plan(below + "/infer", bodies, rows)


def _measure(client: Client, plan: Plan, metadata: Document, flags: dict[str, Any]) -> int:
    server, key = Server.of(client.url), client.headers
    runs: list[Run] = []
    for name, bodies in plan.bodies.items():
        sent = [server.request(plan.path, {**key, **b.headers}, b.content) for b in bodies]
        load = Load(server, sent, flags["duration"], flags["timeout"])
        wrong = _run(client, ask_each(load))
        if wrong is not None:
            return _tell_wrong(wrong, name, plan.rows)
        if not (runs or flags["json"]):
            tell(_heading(plan, metadata, flags))
        for concurrency, rate, observing in _loops(load, flags):
            runs.append(run_of(name, concurrency, rate, _run(client, observing)))
            if not flags["json"]:
                tell(line(runs[-1]))
    failed = sum(each.failed for each in runs)
    found = {
        "model": metadata["name"], "url": client.url, "path": plan.path,
        "source": plan.rows.source, "rows": flags["rows"], "seconds": flags["duration"],
        "failed": failed, "runs": [values(each) for each in runs],
    }  # fmt: skip
    text = "\n".join(note for each in runs for note in notes(each))
    if flags["json"] or text:
        show(found, text, flags["json"])
    return 1 if failed else 0


def _loops(
    load: Load, flags: dict[str, Any]
) -> Iterator[tuple[int, float | None, Coroutine[Any, Any, Observed]]]:
    """Yield the runs: (clients or connections, rate, coroutine of the run)."""
    if not flags["rate"]:
        for count in flags["concurrency"] or (1, 8, 32):
            yield count, None, closed_loop(load, count)
    for rate in flags["rate"]:
        for count in flags["concurrency"] or (CONNECTIONS,):
            yield count, rate, open_loop(load, rate, count)


def _heading(plan: Plan, metadata: Document, flags: dict[str, Any]) -> str:
    count = len(plan.rows.requests) or 1
    many = f"{count} requests in rotation" if count > 1 else "one request"
    tensors = f" ({shapes(plan.rows.requests)})" if plan.rows.requests else ""
    return (
        f"{metadata['name']} at {flags['url']}{plan.path}, {flags['duration']:g} s per run\n"
        f"{many} from {plan.rows.source}{tensors}\n\n{head()}"
    )


def _tell_wrong(answer: Answer, name: str, rows: Rows) -> int:
    """Print that the server refused a request. Returns the exit code."""
    status = f" ({answer.kind})" if answer.kind.isdigit() else ""
    remedy = "; give valid rows with --data" if rows.source == MADE_UP else ""
    what = f"{name} request from {rows.source}: {reason(answer.text)}{remedy}"
    print(f"quantserve: refused{status}: {what}", file=sys.stderr)
    return 1


def _run(client: Client, observing: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in an event loop, that of uvloop if it is installed.

    Raises:
        Unreachable
    """
    try:
        import uvloop
    except ImportError:  # uvloop does not support Windows
        factory = None
    else:
        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(observing)
    except OSError as error:
        why = error.strerror or str(error)
        raise Unreachable(f"no answer from {client.url}: {why}") from error


def _count(text: str) -> int:
    """Parse a whole number from 1 to MOST_CLIENTS."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_CLIENTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_CLIENTS}")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(_count, text.split(",")))


def _seconds(text: str) -> float:
    """Parse a positive number, with or without the suffix "s"."""
    return _positive(text.removesuffix("s"), text)


def _rates(text: str) -> tuple[float, ...]:
    return tuple(_positive(each, each) for each in text.split(","))


def _positive(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _formats(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(text.split(",")))
    if not set(chosen) <= FORMATS.keys():
        raise argparse.ArgumentTypeError(f"{text!r}: expected json, binary, or json,binary")
    return chosen
