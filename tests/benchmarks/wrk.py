"""The client: wrk, one thread, a fixed number of connections that are never idle."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.protocol import Message

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT = 10
ERRORS = ("connect", "read", "write", "status", "timeout")


class LoadError(Exception):
    """Requests failed or were not answered, so the results would be meaningless."""


@dataclass(frozen=True, slots=True)
class Load:
    """A request to repeat; the body is a file because wrk reads it."""

    url: str
    body: Path
    message: Message


@dataclass(frozen=True, slots=True)
class Outcome:
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


def available() -> bool:
    return shutil.which("wrk") is not None


def run(load: Load, clients: int, seconds: int) -> Outcome:
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", f"--timeout={TIMEOUT}s"]
    command += ["-s", str(SCRIPT), load.url, "--", str(load.body), load.message.content_type]
    if load.message.header_length is not None:
        command.append(str(load.message.header_length))
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 2 * TIMEOUT, check=False
    )
    line = next((text for text in done.stdout.splitlines() if text.startswith("RESULT ")), None)
    if done.returncode or line is None:
        raise LoadError(f"wrk gave no result: {(done.stderr or done.stdout).strip()}")
    return _outcome(json.loads(line.removeprefix("RESULT ")))


def _outcome(result: dict[str, int]) -> Outcome:
    errors = {kind: result[kind] for kind in ERRORS if result[kind]}
    if errors:
        raise LoadError(f"of {result['requests']} requests failed: {errors}")
    if not result["requests"]:
        raise LoadError("no request was answered")
    return Outcome(
        requests=result["requests"],
        seconds=result["microseconds"] / 1e6,
        p50_ms=result["p50"] / 1e3,
        p99_ms=result["p99"] / 1e3,
    )
