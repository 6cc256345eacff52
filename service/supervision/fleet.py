"""Several workers on one port: complete servers, each with its share of the cores.

The supervisor reserves the port, replaces workers that end or hang, orders their changes, and sums
their metrics. Connections never pass through it.
"""

import mmap
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType
from typing import Any

from service.core.crashes import Crashes
from service.core.ledger import Work
from service.engine.host.resources import usable_cores
from service.supervision import board as boards
from service.supervision.address import Address, reserve
from service.supervision.board import Board
from service.supervision.coordinator import Order, Proposal, Vote
from service.supervision.cores import cores_of_each, threads_of_each
from service.supervision.groups import Groups
from service.supervision.merging import Page
from service.supervision.own_metrics import own_metrics
from service.supervision.process import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MOST_EARLY_CRASHES,
    cause_of,
    code_of_end,
    reap_orphans,
    shared_memory,
    stop_signals,
)
from service.supervision.scrapes import Scrapes
from service.supervision.template import Template
from service.supervision.worker import Worker

TICK = 0.1
HUNG = "hung"


class Fleet:
    """The workers, and their shared state."""

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        address: Address,
        timeout: float,
        ready: int,
        own: Mapping[str, float],
    ) -> None:
        """``count``: the number of workers that share the port. ``timeout``: seconds after which a
        worker whose event loop is blocked is replaced. ``ready``: the number of workers that must
        be ready before the server is. ``own``: the models with a dedicated worker, each with
        its worker's share of the memory."""
        self._command = command
        self._address = address
        self._timeout = timeout
        self._groups = Groups(count, tuple(own))
        rest = (1 - sum(own.values())) / count
        self._memory_shares = [rest] * count + list(own.values())
        cores = cores_of_each(count)
        self._cores = threads_of_each(count)
        # For a request that has the machine to itself: the threads of a run, and the cores.
        self._machine = {
            "all_threads": usable_cores(),
            "all_cores": sorted({core for each in cores for core in each}),
        }
        # A dedicated worker is bound to no cores: it may be idle for long.
        self._workers = [
            Worker(number, each) for number, each in enumerate(cores + [()] * len(own))
        ]
        self._sharing, self._owning = self._workers[:count], self._workers[count:]
        # Dedicated workers must be ready too, unless fewer workers than all must be.
        self._awaited = self._sharing if ready < count else self._workers
        self._wanted_ready = ready if ready < count else len(self._workers)
        every = len(self._workers)
        self._board_file = shared_memory(boards.size(every))
        self._board = Board(mmap.mmap(self._board_file, boards.size(every)), every, count)
        # Sockets to pass connections between workers; they outlive a worker.
        self._mail = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(every)]
        mail = [each.fileno() for pair in self._mail for each in pair]
        ledgers = [worker.ledger for worker in self._workers]
        self._template = Template(command, [self._board_file, *mail, *ledgers])
        self._key = secrets.token_hex(32)
        self._selector = selectors.DefaultSelector()
        self._scrapes = Scrapes(self._tell, self._own)
        # All other mutable state: the crashes so far, the received signals and how many were passed
        # on, the exit code so far, whether any and whether all workers have been started, and when
        # this process last ran.
        self._crashes = Crashes()
        self._signals: list[int] = []
        self._passed_on = 0
        self._code = 0
        self._any_started = self._all_started = False
        self._last_run = time.monotonic()

    def run(self) -> int:
        """Run until all workers have stopped, or none can be started. Return the exit code."""
        try:
            reserved = reserve(self._address)
        except OSError as error:
            where = f"{self._address.host}:{self._address.port}"
            print(f"quantserve: cannot listen on {where}: {error.strerror}", file=sys.stderr)
            return 2
        self._address = Address(self._address.host, reserved.getsockname()[1])
        for number in stop_signals():
            signal.signal(number, self._note_signal)
        with reserved:
            while any(worker.process is not None for worker in self._workers) or not self._ending:
                self._keep_template()
                self._step()
        self._template.kill()
        return self._code

    @property
    def _ending(self) -> bool:
        return self._board.stopping

    def _step(self) -> None:
        for key, _ in self._selector.select(TICK):
            if isinstance(key.data, Worker):
                self._hear(key.data)
            else:
                self._template.hear()
        for worker in self._workers:
            worker.flush()
            self._reap(worker)
        self._pass_on()
        self._start_due()
        self._watch_beats()
        reap_orphans({*(w.process_id for w in self._workers), self._template.process_id})
        self._scrapes.step(time.monotonic(), self._live())

    def _start(self, worker: Worker) -> None:
        again = self._board.ready or bool(self._crashes.total)
        told = {
            "crashes": self._crashes.to_json(),
            "fleet": {
                "worker": worker.number,
                "workers": len(self._workers),
                "shared": len(self._sharing),
                "own": self._groups.own,
                "board": self._board_file,
                "inbox": self._mail[worker.number][0].fileno(),
                "outboxes": [theirs.fileno() for _, theirs in self._mail],
                "host": self._address.host,
                "port": self._address.port,
                "key": self._key,
                "cores": self._cores if worker in self._sharing else usable_cores(),
                "again": again,
                "memory_share": self._memory_shares[worker.number],
                # The first one answers health checks from the start. If the server is ready before
                # all workers are, the others take connections only when they are ready themselves.
                "late": again or (worker.number > 0 and self._wanted_ready < len(self._workers)),
                **self._machine,
            },
        }
        mail = [self._mail[worker.number][0], *(theirs for _, theirs in self._mail)]
        passed = [self._board_file, *(each.fileno() for each in mail)]
        channel = worker.start(self._template, self._command, told, passed)
        self._selector.register(channel, selectors.EVENT_READ, worker)

    def _keep_template(self) -> None:
        """Start the template, and again when it has ended. If it ends before any worker has been
        started, its settings are invalid."""
        if (ended := self._template.ended()) is not None:
            code, channel = ended
            self._selector.unregister(channel)
            if code > 0 and not self._any_started:
                self._give_up(code)
        if not self._ending and (started := self._template.start()) is not None:
            self._selector.register(started, selectors.EVENT_READ, self._template)

    def _start_due(self) -> None:
        now = time.monotonic()
        if self._ending or (self._template.loading and not self._any_started):
            return
        # One worker is started first, so that only one reports what is wrong.
        for worker in self._workers[: None if self._all_started else 1]:
            if worker.process is None and worker.again_at <= now:
                self._any_started = True
                self._start(worker)

    def _hear(self, worker: Worker) -> None:
        channel = worker.channel
        for message in worker.hear():
            self._take(worker, message)
        if worker.channel is None and channel is not None:
            self._selector.unregister(channel)

    def _take(self, worker: Worker, message: Mapping[str, Any]) -> None:
        number, coordinator = worker.number, self._groups.of_worker(worker.number)
        event = message["event"]
        if event == "listening":
            self._all_started = True
        elif event == "hello":
            worker.tell({"event": "standing", "standing": coordinator.standing})
        elif event == "join":
            self._give(coordinator.join(number, message["standing"]))
        elif event == "propose":
            self._give(
                coordinator.propose(
                    Proposal(
                        number,
                        message["proposal"],
                        message["model"],
                        message["verb"],
                        message["arguments"],
                    )
                )
            )
        elif event == "vote":
            vote = Vote(message["version"], message["yes"], message["reason"], message["checks"])
            self._give(coordinator.vote(number, message["change"], vote))
        elif event == "end":
            standing = message["standing"]
            self._give(coordinator.end(number, message["change"], message["done"], standing))
        elif event == "scrape":
            self._scrapes.ask(number, message["scrape"], time.monotonic(), self._live())
        elif event == "page":
            self._scrapes.take(number, message["page"])
        elif event == "try again":
            work = Work(str(message["model"]), int(message["version"]))
            self._crashes = self._crashes.without_blame(work)

    def _give(self, orders: Iterable[Order]) -> None:
        for number, message in orders:
            worker = self._workers[number]
            if message["event"] == "joined":
                worker.was_ready, worker.early = True, 0
                ready = sum(each.was_ready for each in self._awaited)
                if ready >= self._wanted_ready and self._workers[0].was_ready:
                    self._board.set_ready()
            if message["event"] == "replace":
                _tell_people(f"worker {number} serves different versions; it is replaced")
                worker.told_to_end = True
                worker.signal(signal.SIGTERM)
                continue
            worker.tell(message)

    def _tell(self, number: int, message: Mapping[str, Any]) -> None:
        self._workers[number].tell(message)

    def _live(self) -> list[int]:
        return [each.number for each in self._workers if each.channel is not None]

    def _reap(self, worker: Worker) -> None:
        if worker.process is None or (code := worker.process.poll()) is None:
            return
        self._hear(worker)
        if worker.channel is not None:
            self._selector.unregister(worker.channel)
            worker.channel.close()
            worker.channel = None
        worker.process = None
        self._board.clear(worker.number)
        self._scrapes.gone(worker.number)
        self._give(self._groups.of_worker(worker.number).gone(worker.number))
        if self._ending:
            self._code = max(self._code, code_of_end(code))
        elif worker.told_to_end or code == 0:
            worker.again_at = 0.0
        elif code > 0 and not worker.was_ready and not self._board.ready:
            self._give_up(code)
        else:
            self._count_crash(worker, worker.cause or cause_of(code))
            # A dedicated worker is restarted without limit, because the others serve.
            others = worker in self._owning or self._groups.of_worker(worker.number).members
            if worker.early >= MOST_EARLY_CRASHES and not others:
                _tell_people(f"the workers die before they are ready: {self._crashes.last}")
                self._give_up(128 - code if code < 0 else code)

    def _count_crash(self, worker: Worker, cause: str) -> None:
        before = set(self._crashes.quarantined)
        self._crashes = self._crashes.with_crash(cause, worker.at_work)
        _tell_people(f"worker {worker.number} ended: {self._crashes.last}; it is replaced")
        worker.early = 0 if worker.was_ready else worker.early + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**worker.early) if worker.early else 0.0
        worker.again_at = time.monotonic() + pause
        for work in set(self._crashes.quarantined) - before:
            arguments = {"version": work.version, "reason": self._crashes.reasons[work]}
            proposal = Proposal(None, 0, work.model, "quarantine", arguments)
            self._give(self._groups.of_model(work.model).propose(proposal))

    def _give_up(self, code: int) -> None:
        self._code = max(self._code, code)
        self._board.set_stopping()
        for worker in self._workers:
            worker.signal(signal.SIGTERM)

    def _note_signal(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _pass_on(self) -> None:
        while self._passed_on < len(self._signals):
            self._board.set_stopping()
            # The first signal drains the workers that share the port. They need the others for it,
            # which only end what would delay them.
            if not self._passed_on:
                for worker in self._owning:
                    worker.tell({"event": "stop"})
            for worker in self._workers if self._passed_on else self._sharing:
                worker.signal(self._signals[self._passed_on])
            self._passed_on += 1
        if self._passed_on and all(worker.process is None for worker in self._sharing):
            for worker in self._owning:
                if not worker.told_to_end:
                    worker.told_to_end = True
                    worker.signal(signal.SIGTERM)

    def _watch_beats(self) -> None:
        """Replace workers whose event loop is blocked, unless this process was also suspended, for
        example because the machine slept."""
        now = time.monotonic()
        if now - self._last_run > self._timeout / 2:
            for worker in self._workers:
                if self._board.last_beat(worker.number):
                    self._board.beat(worker.number, now)
        self._last_run = now
        for worker in self._workers:
            beat = self._board.last_beat(worker.number)
            ends = self._ending or worker.told_to_end or worker.cause
            if beat and not ends and now - beat > self._timeout:
                worker.end_for(HUNG)

    def _own(self) -> Page:
        return own_metrics(self._crashes, self._workers, self._board)


def _tell_people(text: str) -> None:
    print(f"quantserve: {text}", file=sys.stderr, flush=True)
