"""A real server process on a free port of the loopback interface, stopped by its own signal."""

import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 180
STOP_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready: host:port, what it printed until then, and its process."""

    address: str
    printed: str
    process: subprocess.Popen[str]

    def resident_bytes(self) -> int:
        """Memory that is in RAM now."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024


@contextmanager
def running(models: Path, *flags: str) -> Iterator[Running]:
    """Serve a folder; in the end the server is told to stop, and must end with exit code 0."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--models", str(models)]
    # Not a pipe: nobody reads it, and a full one would stop the server.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*command, *flags], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        guard = threading.Timer(START_SECONDS, process.kill)
        guard.start()
        try:
            assert process.stdout is not None
            printed, found = "", None
            while not found and (line := process.stdout.readline()):
                printed += line
                found = re.search(r"serving at http://(\S+),", line)
            guard.cancel()
            errors.seek(0)
            assert found, errors.read()
            yield Running(found[1], printed, process)
        finally:
            guard.cancel()
            process.terminate()
            code = process.wait(STOP_SECONDS)
        assert code == 0
