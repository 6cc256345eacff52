"""The server's side of its supervisor: what it was given, and what it tells."""

import ctypes
import json
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from service.core.crashes import Crashes
from service.core.ledger import SIZE, Ledger, Work
from service.supervisor import VARIABLE

PR_SET_PDEATHSIG = 1
"""https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html"""


def _nobody(_: bytes, __: tuple[int, ...] = ()) -> None:
    """Where there is no supervisor."""


@dataclass(frozen=True, slots=True)
class Supervised:
    """``crashes`` are those of earlier servers of the same supervisor; ``listener`` is the port
    that one of them had opened. Without a supervisor there are none, and nobody is told anything.
    """

    ledger: Ledger = field(default_factory=Ledger)
    crashes: Crashes = field(default_factory=Crashes)
    listener: socket.socket | None = None
    tell: Callable[[bytes, tuple[int, ...]], None] = _nobody

    def hand_over(self, listener: socket.socket) -> None:
        """Let the supervisor keep the port open."""
        self._event("listening", (listener.fileno(),))

    def ready(self) -> None:
        """The models are loaded."""
        self._event("ready")

    def closing(self) -> None:
        """The port is being closed."""
        self._event("closing")

    def try_again(self, work: Work) -> None:
        """Somebody asked to serve a version again, whatever it is blamed for."""
        self._event("try again", model=work.model, version=work.version)

    def _event(self, name: str, files: tuple[int, ...] = (), **more: object) -> None:
        self.tell(json.dumps({"event": name, **more}).encode() + b"\n", files)


def supervised() -> Supervised:
    """What the environment says of a supervisor; it is taken out of the environment."""
    given = os.environ.pop(VARIABLE, None)
    if given is None:
        return Supervised()
    told = json.loads(given)
    _end_with(told["parent"])
    channel = socket.socket(fileno=told["channel"])
    channel.set_inheritable(False)
    table = mmap.mmap(told["table"], SIZE)
    os.close(told["table"])
    listener = None
    if told["listener"] is not None:
        listener = socket.socket(fileno=told["listener"])
        listener.set_inheritable(False)

    def tell(message: bytes, files: tuple[int, ...] = ()) -> None:
        with suppress(OSError):  # the supervisor is gone, and this process about to be
            socket.send_fds(channel, [message], files)

    return Supervised(Ledger(table), Crashes.from_json(told["crashes"]), listener, tell)


def _end_with(parent: int) -> None:
    """Drain and end when the supervisor is killed, since nothing else stops this process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)
