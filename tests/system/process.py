"""A real server process on a free port of the loopback interface."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready: its host:port, what it printed, and its process id."""

    address: str
    printed: str
    pid: int


@contextmanager
def running(*arguments: str, seconds: float = 180) -> Iterator[Running]:
    """Serve for as long as the context lasts; the server must end well when it is told to."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    guard = threading.Timer(seconds, process.kill)
    guard.start()
    printed, errors = [], []
    assert process.stdout and process.stderr
    # Whoever does not read a pipe stops the process that writes to it.
    reader = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        found = None
        for line in process.stdout:
            printed.append(line)
            found = re.search(r"serving at http://(\S+),", line)
            if found:
                break
        guard.cancel()
        assert found, "".join(errors)
        yield Running(found[1], "".join(printed), process.pid)
    finally:
        guard.cancel()
        process.terminate()
        code = process.wait(20)
        reader.join(5)
        process.stdout.close()
        process.stderr.close()
    assert code == 0, "".join(errors)
