"""Starts a server, waits until it is ready, sends requests, and stops it by its pid."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import processes
from tests.benchmarks.protocol import LENGTH_HEADER, Message

ROOT = Path(__file__).parents[2]
READY_WITHIN = 30.0
STOP_WITHIN = 10.0
SETTLE_WITHIN = 5.0
LOG_LINES = 15


class ServerError(Exception):
    """A server did not start, did not become ready, or answered wrongly."""


ADMIN_KEY = "an-admin-key"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server of one model. `name` is its name in the report."""

    name: str
    model: str
    port: int
    pid: int

    @property
    def path(self) -> str:
        return f"/v2/models/{self.model}/infer"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def ask(self, message: Message) -> Message:
        return ask(self.name, self.port, self.path, message)

    def settle(self) -> None:
        """Wait until the requests of abandoned connections have been processed."""
        deadline = time.monotonic() + SETTLE_WITHIN
        before = processes.cpu_seconds(self.pid)
        while time.monotonic() < deadline:
            time.sleep(0.1)
            now = processes.cpu_seconds(self.pid)
            if now - before <= 2 * processes.TICK:
                return
            before = now


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server: `python -m module arguments --port N`."""

    name: str
    model: str
    module: str
    arguments: tuple[str, ...]


@contextmanager
def serving(launch: Launch, logs: Path) -> Iterator[Server]:
    """Start a server of a model."""
    port = free_port()
    command = [sys.executable, "-m", launch.module, *launch.arguments, "--port", str(port)]
    log = logs / f"{launch.module}-{port}.log"
    with started(
        launch.name, command, {"QUANTSERVE_ADMIN_KEY": ADMIN_KEY}, log,
        lambda: is_ready(port, launch.model), READY_WITHIN,
    ) as pid:  # fmt: skip
        yield Server(launch.name, launch.model, port, pid)


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    ready: Callable[[], bool],
    within: float,
) -> Iterator[int]:
    """Start a process that must become ready within this many seconds; yield its pid, and stop it
    at the end."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=sink, stderr=sink,
            start_new_session=True,
        )  # fmt: skip
    try:
        _await_ready(name, ready, process, log, within)
        yield process.pid
        if process.poll() is not None:
            raise ServerError(f"{name} died with {process.returncode}\n{_tail(log)}")
    finally:
        _stop(process)


def ask(name: str, port: int, path: str, message: Message) -> Message:
    """Send one request.

    Raises:
        ServerError: the answer is an error.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_WITHIN)
    try:
        connection.request("POST", path, message.content, message.headers())
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != 200:
        text = content[:500].decode(errors="replace")
        raise ServerError(f"{name} answered {response.status}: {text}")
    length = response.headers.get(LENGTH_HEADER)
    kind = response.headers.get("Content-Type", "")
    return Message(content, kind, int(length) if length else None)


def free_port() -> int:
    """Return a port that no server listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _await_ready(
    name: str, ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, within: float
) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"{name} exited with {process.returncode}\n{_tail(log)}")
        if ready():
            return
        time.sleep(0.05)
    raise ServerError(f"{name} is not ready after {within:.0f} s\n{_tail(log)}")


def is_ready(port: int, model: str) -> bool:
    """Return True if a server on this port serves a model."""
    return says_yes(port, f"/v2/models/{model}/ready")


def says_yes(port: int, path: str) -> bool:
    """Return True if the server on this port answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    members = processes.tree(process.pid) if process.poll() is None else []
    if members:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_WITHIN)
    # Some servers leave processes behind, which would slow down all that is measured after them.
    for member in members:
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(f"  | {line}" for line in lines) or "  | (its log is empty)"
