"""The server's side of its supervisor: the state it receives and the events it reports."""

import json
import mmap
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from service.core.crashes import Crashes
from service.core.ledger import SIZE, Ledger, Work
from service.core.lone import LoneCores
from service.core.selection import Selection
from service.forking import end_with, forked
from service.supervision.board import Board, size
from service.supervision.process import VARIABLE


def _nobody(_: bytes, __: tuple[int, ...] = ()) -> None:
    """Report nothing: there is no supervisor."""


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of this process among the workers of a fleet.

    ``channel`` is the socket to the supervisor. Other workers pass connections to ``inbox``;
    ``outboxes`` are the sockets to all workers, by number. ``cores`` is its share of the cores,
    ``machine`` what a run may use while no worker runs a model. ``again``: another process had this
    place before, or the fleet has been ready before. ``late``: accept connections only when ready.
    ``own`` maps each model with a dedicated worker to that worker. ``memory_share`` is the part of
    the server's memory for this worker.
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
    own: Mapping[str, int]
    memory_share: float

    @property
    def shares_port(self) -> bool:
        """True if clients connect to this worker. False for a dedicated worker, to which the
        others forward requests."""
        return self.worker < self.board.shared

    @property
    def before(self) -> range:
        """The workers of the same models with a lower number."""
        return range(self.worker if self.shares_port else 0)

    @property
    def models(self) -> Selection:
        """The models of this worker."""
        if self.shares_port:
            return Selection(frozenset(self.own), inverted=True)
        return Selection(frozenset(n for n, worker in self.own.items() if worker == self.worker))

    @property
    def idle(self) -> bool:
        """True if no other worker runs a model in a thread."""
        return self.board.others_idle(self.worker)

    def set_busy(self, *, busy: bool) -> None:
        """Publish whether this worker runs a model in a thread."""
        self.board.set_busy(self.worker, busy=busy)

    @property
    def all_end(self) -> bool:
        """True if all workers are stopping, or the supervisor has ended."""
        return self.board.stopping or os.getppid() != self.parent


@dataclass(frozen=True, slots=True)
class Supervised:
    """A server's connection to its supervisor. ``crashes`` are the crashes of earlier servers of
    the same supervisor; ``listener`` is the port that an earlier server had opened. Without a
    supervisor both are empty, and nothing is reported.
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
        """Report that the models are loaded."""
        self._event("ready")

    def closing(self) -> None:
        """Report that the port is being closed."""
        self._event("closing")

    def try_again(self, work: Work) -> None:
        """Ask the supervisor to forget the crashes of a version that will be served again."""
        self._event("try again", model=work.model, version=work.version)

    def _event(self, name: str, files: tuple[int, ...] = (), **more: object) -> None:
        self.tell(json.dumps({"event": name, **more}).encode() + b"\n", files)


def supervised() -> Supervised:
    """Read the supervisor's variables, and remove them from the environment."""
    given = os.environ.pop(VARIABLE, None)
    if given is None:
        return Supervised()
    told = json.loads(given)
    end_with(told["parent"])
    if "template" in told:
        told = forked(told, socket.socket(fileno=told["channel"]))
    channel = socket.socket(fileno=told["channel"])
    channel.set_inheritable(False)
    table = mmap.mmap(told["table"], SIZE)
    os.close(told["table"])
    seat = _seat(told, channel) if "fleet" in told else None
    listener = None
    if told["listener"] is not None:
        listener = socket.socket(fileno=told["listener"])
        listener.set_inheritable(False)

    def tell(message: bytes, files: tuple[int, ...] = ()) -> None:
        with suppress(OSError):  # the supervisor has ended, and this process will end too
            socket.send_fds(channel, [message], files)

    return Supervised(Ledger(table), Crashes.from_json(told["crashes"]), listener, tell, seat)


def _seat(told: dict[str, Any], channel: socket.socket) -> Seat:
    given = told["fleet"]
    workers = given["workers"]
    board = Board(mmap.mmap(given["board"], size(workers)), workers, given["shared"])
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
        LoneCores(given["all_threads"], _beside(given["all_cores"])),
        given["again"],
        given["late"],
        told["parent"],
        given["own"],
        given["memory_share"],
    )


def _beside(cores: list[int]) -> tuple[int, ...]:
    """Return the cores for the threads beside the one that calls a run. If this process is bound to
    one core, that core is taken: a thread that spins there would wait for the caller."""
    own = os.sched_getaffinity(0) if cores else set()
    others = [core for core in cores if core not in own]
    return tuple(others if len(own) == 1 and others else cores)
