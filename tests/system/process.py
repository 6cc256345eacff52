"""A real server process on a free port of the loopback interface, stopped by its own signal."""

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE
from tests.system.wire import Answer, Line

ROOT = Path(__file__).parents[2]
KEY = "an-admin-key"
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
BODY_SECONDS = 2
"""What impatient servers are told. Tests wait for it; a client that is busy needs less."""


def obey_permissions() -> None:
    """Respect the permission bits of files, also as root."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready: host:port, its output so far, its process and its log."""

    address: str
    printed: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.address.rpartition(":")[2])

    @property
    def told(self) -> str:
        """The output of its start, without JSON escapes."""
        lines = [json.loads(line) for line in self.printed.splitlines()]
        texts = ([each["message"], each.get("tensors", ""), *each.get("notes", ())]
                 for each in lines)  # fmt: skip
        return "\n".join(text for each in texts for text in each)

    def line(self) -> Line:
        """Open a new connection."""
        return Line(self.port)

    def ask(self, request: bytes) -> Answer:
        """Send a request over a new connection."""
        with self.line() as line:
            return line.ask(request)

    def resident_bytes(self) -> int:
        """Return the resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024

    def logged(self) -> list[dict[str, Any]]:
        """Return the lines of the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def start(
    models: Path,
    log: Path,
    *flags: str,
    before: Callable[[], None] | None = None,
    supervised: bool = False,
) -> subprocess.Popen[str]:
    """A server that may not be ready yet; its process calls ``before`` first. Its log goes to a
    file: a pipe that nobody reads would fill and stop it."""
    command = [sys.executable, "-m", "service", "serve"]
    command += [] if supervised else ["--no-supervisor"]
    command += ["--models", str(models), *flags]
    environment = {"QUANTSERVE_ADMIN_KEY": KEY, **os.environ}
    with log.open("w") as errors:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=before,
        )


@contextmanager
def running(
    models: Path,
    *flags: str,
    code: int = 0,
    before: Callable[[], None] | None = None,
    supervised: bool = False,
) -> Iterator[Running]:
    """Serve a folder; in the end the server is told to stop, and must end with this exit code."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = start(models, log, "--port", "0", *flags, before=before, supervised=supervised)
        guard = threading.Timer(PATIENCE, process.kill)
        guard.start()
        try:
            assert process.stdout is not None
            printed, found = "", None
            while not found and (line := process.stdout.readline()):
                printed += line
                found = re.search(r"serving at http://(\S+),", line)
            guard.cancel()
            assert found, log.read_text()
            yield Running(found[1], printed, process, log)
        finally:
            guard.cancel()
            process.terminate()
            try:
                ended = process.wait(PATIENCE)
            finally:
                process.kill()
                process.communicate()
        assert ended == code, log.read_text()
