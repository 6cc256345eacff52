"""A real server process on a free port of the loopback interface."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """host:port of a server with the shipped models."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        found = None
        for line in process.stdout:
            found = re.search(r"serving at http://(\S+),", line)
            if found:
                break
        assert found, process.stderr.read() if process.stderr else ""
        guard.cancel()
        yield found[1]
    finally:
        guard.cancel()
        process.terminate()
        assert process.wait(20) == 0
