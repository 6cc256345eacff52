"""The server's side of its supervisor: what it receives and what it reports."""

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
from typing import Any

from service.core.crashes import Crashes
from service.core.ledger import SIZE, Ledger, Work
from service.core.lone import LoneCores
from service.supervision.board import Board, size
from service.supervision.process import VARIABLE

PR_SET_PDEATHSIG = 1
"""https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html"""


def _nobody(_: bytes, __: tuple[int, ...] = ()) -> None:
    """Where there is no supervisor."""


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of this process among the workers of a fleet.

    ``channel`` leads to the supervisor. Connections that others hand over come by ``inbox``;
    ``outboxes`` lead to all, by number. ``cores`` is its share, and ``machine`` what all workers
    have together. ``again``: another process had the seat, or the fleet has been ready before.
    ``late``: it takes connections only once it is ready.
    """

    worker: int
    board: Board
    channel: socket.socket
    inbox: socket.socket
    outboxes: tuple[socket.socket, ...]
    host: str
    port: int
    key: str
    cores: int
    machine: LoneCores
    again: bool
    late: bool
    parent: int

    @property
    def idle(self) -> bool:
        """Whether no other worker runs a model in a thread."""
        return self.board.others_idle(self.worker)

    def set_busy(self, *, busy: bool) -> None:
        """Tell the others whether this worker does."""
        self.board.set_busy(self.worker, busy=busy)

    @property
    def all_end(self) -> bool:
        """Whether the others end too."""
        return self.board.stopping or os.getppid() != self.parent


@dataclass(frozen=True, slots=True)
class Supervised:
    """``crashes`` are those of earlier servers of the same supervisor; ``listener`` is the port
    that one of them had opened. Without a supervisor there are none, and nothing is reported.
    """

    ledger: Ledger = field(default_factory=Ledger)
    crashes: Crashes = field(default_factory=Crashes)
    listener: socket.socket | None = None
    tell: Callable[[bytes, tuple[int, ...]], None] = _nobody
    seat: Seat | None = None

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
        """Tell the supervisor to forget the crashes of a version that is to be served again."""
        self._event("try again", model=work.model, version=work.version)

    def _event(self, name: str, files: tuple[int, ...] = (), **more: object) -> None:
        self.tell(json.dumps({"event": name, **more}).encode() + b"\n", files)


def supervised() -> Supervised:
    """Read the supervisor's variables, and remove them from the environment."""
    given = os.environ.pop(VARIABLE, None)
    if given is None:
        return Supervised()
    told = json.loads(given)
    _end_with(told["parent"])
    channel = socket.socket(fileno=told["channel"])
    channel.set_inheritable(False)
    if "spare" in told:
        told = _assigned(told, channel)
    table = mmap.mmap(told["table"], SIZE)
    os.close(told["table"])
    seat = _seat(told, channel) if "fleet" in told else None
    listener = None
    if told["listener"] is not None:
        listener = socket.socket(fileno=told["listener"])
        listener.set_inheritable(False)

    def tell(message: bytes, files: tuple[int, ...] = ()) -> None:
        with suppress(OSError):  # the supervisor is gone, and this process about to be
            socket.send_fds(channel, [message], files)

    return Supervised(Ledger(table), Crashes.from_json(told["crashes"]), listener, tell, seat)


def _assigned(told: dict[str, Any], channel: socket.socket) -> dict[str, Any]:
    """Wait for a seat, with all libraries loaded."""
    line = bytearray()
    while not line.endswith(b"\n"):
        data = channel.recv(1)
        if not data:
            sys.exit(0)
        line += data
    assigned: dict[str, Any] = {**told, **json.loads(line)}
    fleet = assigned["fleet"]
    own = {fleet["board"], fleet["inbox"], *fleet["outboxes"], assigned["table"]}
    for file in set(told["spare"]) | {told["table"]}:
        if file not in own:
            os.close(file)
    if assigned["affinity"]:
        os.sched_setaffinity(0, assigned["affinity"])
    return assigned


def _seat(told: dict[str, Any], channel: socket.socket) -> Seat:
    given = told["fleet"]
    workers = given["workers"]
    board = Board(mmap.mmap(given["board"], size(workers)), workers)
    os.close(given["board"])
    mail = [socket.socket(fileno=each) for each in (given["inbox"], *given["outboxes"])]
    for each in mail:
        each.set_inheritable(False)
        each.setblocking(False)
    return Seat(
        given["worker"],
        board,
        channel,
        mail[0],
        tuple(mail[1:]),
        given["host"],
        given["port"],
        given["key"],
        given["cores"],
        LoneCores(given["all_threads"], tuple(given["all_cores"])),
        given["again"],
        given["late"],
        told["parent"],
    )


def _end_with(parent: int) -> None:
    """Drain and end when the supervisor is killed, since nothing else stops this process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)
