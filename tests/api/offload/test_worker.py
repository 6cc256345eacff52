"""The codec process by itself, over its line."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from math import sqrt

import pytest

from service.api.offload.frames import LineBroken, receive, send
from service.core.errors import CodecFailed, MalformedRequest
from tests.inprocess import ROOT
from tests.patience import PATIENCE


def refuse(error: str) -> None:
    raise MalformedRequest(error)


def fill() -> None:
    raise MemoryError


@pytest.fixture
def line() -> Iterator[socket.socket]:
    """The server's end of the line. Afterwards the process must have ended by itself."""
    here, there = socket.socketpair()
    here.settimeout(PATIENCE)
    command = [sys.executable, "-m", "service.api.offload.worker", str(there.fileno())]
    with subprocess.Popen(
        [*command, str(os.getpid())], cwd=ROOT, pass_fds=[there.fileno()]
    ) as process:
        there.close()
        yield here
        here.close()
        assert process.wait(PATIENCE) == 0


def test_the_worker_returns_results_and_errors(line: socket.socket) -> None:
    send(line, (sqrt, (4.0,)))
    assert receive(line) == (True, 2.0)
    send(line, (sqrt, (-1.0,)))
    assert receive(line) == (False, "ValueError: math domain error")
    send(line, (refuse, ("no",)))
    done, error = receive(line)
    assert not done and isinstance(error, MalformedRequest) and str(error) == "no"
    send(line, (fill, ()))
    done, error = receive(line)
    assert not done and isinstance(error, CodecFailed)
    send(line, (sqrt, (9.0,)))
    assert receive(line) == (True, 3.0)


def test_the_worker_ends_when_its_line_is_closed(line: socket.socket) -> None:
    line.shutdown(socket.SHUT_WR)
    with pytest.raises(LineBroken):
        receive(line)


def test_the_worker_ends_if_its_parent_is_not_the_given_server() -> None:
    here, there = socket.socketpair()
    command = [sys.executable, "-m", "service.api.offload.worker", str(there.fileno()), "1"]
    with here, there:
        done = subprocess.run(command, cwd=ROOT, pass_fds=[there.fileno()], timeout=PATIENCE)
    assert done.returncode == 0
