"""The runs in the threads of one batcher, and their time limits. Everything here is called on the
event loop, except what a thread sets in its ``Running``.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from threading import local
from time import monotonic
from weakref import WeakMethod

from service.core.batching import Batch, Entry
from service.core.errors import QuantserveError, RunTimeout
from service.core.ledger import UNNOTED, Mark
from service.core.run_limits import Move, RunLimits, judge
from service.engine.runtime.execution import Control, Instance
from service.engine.runtime.replies import Reply

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Running:
    """One batch in a thread. It occupies a slot of ``instance``; ``runner`` runs it. They differ if
    the lone instance runs it.

    ``thread`` is the future of the pool; the thread sets ``started`` and ``mark``. ``stopped`` is
    the time at which the run was told to end, ``why`` the error for its requests. ``lost``: the
    thread was abandoned.
    """

    instance: Instance
    runner: Instance
    batch: Batch[Reply]
    control: Control
    thread: Future[None] | None = None
    started: float | None = None
    mark: Mark = UNNOTED
    stopped: float | None = None
    why: QuantserveError | None = None
    lost: bool = False

    @property
    def wanted(self) -> bool:
        """True if any request of the batch still waits for its answer."""
        return not all(entry.reply.done() for entry in self.batch.entries)


class Marks:
    """A mark for each thread, not for each instance: a batch of an instance may wait for a thread
    while another batch of it runs."""

    def __init__(self, new_mark: Callable[[], Mark]) -> None:
        self._new_mark = new_mark
        self._local = local()
        self.given: list[Mark] = []

    def enter_thread(self) -> None:
        """Create the mark of this thread."""
        self._local.mark = mark = self._new_mark()
        self.given.append(mark)

    def of_thread(self) -> Mark:
        """Return the mark of this thread."""
        mark: Mark = self._local.mark
        return mark


class Runs:
    """Ends runs that exceed their time limit, and abandons those that do not end.

    ``give_up``, a method, is called with a run whose thread does not return. One timer checks all
    runs while there are any, so that no run needs its own timer.
    """

    def __init__(
        self,
        label: tuple[str, int],
        limits: RunLimits,
        new_control: Callable[[], Control],
        give_up: Callable[[Running], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._model, self._version = label
        self._limits = limits
        self._new_control = new_control
        # Weak: a reference cycle lives until a garbage collection, and keeps the session in memory.
        self._give_up = WeakMethod(give_up)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        # All mutable state: the runs in progress, the timer of the next check, and whether no more
        # runs will begin.
        self._runs: set[Running] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._runs)

    def begin(
        self, instance: Instance, batch: Batch[Reply], runner: Instance | None = None
    ) -> Running:
        """Record a run before it is passed to a thread. ``runner`` defaults to the instance."""
        running = Running(instance, runner or instance, batch, self._new_control())
        self._runs.add(running)
        if self._timer is None:
            self._look_at(self._clock() + self._limits.timeout)
        return running

    def end(self, running: Running) -> None:
        """Record that a thread has returned."""
        self._runs.discard(running)
        if self._closed:
            self._rest()

    def entries(self) -> Iterator[Entry[Reply]]:
        """Return the entries of the batches in threads."""
        return (entry for running in self._runs for entry in running.batch.entries)

    def marks(self) -> set[Mark]:
        """Return the marks of the threads that run batches."""
        return {running.mark for running in self._runs}

    def stop_unwanted(self) -> None:
        """End runs whose requests were all cancelled."""
        for running in self._runs:
            if not running.wanted:
                running.control.terminate = True

    def stop_all(self, why: QuantserveError) -> list[Running]:
        """End all runs; no run may begin after this. ``why`` is the error for their requests.
        Return the runs that no thread had begun."""
        now, pending = self._clock(), []
        for running in tuple(self._runs):
            self._stop(running, now, why)
            if running.thread is not None and running.thread.cancel():
                self._runs.discard(running)
                pending.append(running)
        self._closed = True
        self._rest()
        if self._runs:
            self._look_at(now + self._limits.grace)
        return pending

    def look(self) -> None:
        """End runs at their time limit, abandon those that do not end, schedule the next call."""
        now, times = self._clock(), []
        self._timer = None
        for running in tuple(self._runs):
            move, again = judge(running.started, running.stopped, now, self._limits)
            if move is Move.GIVE_UP:
                running.lost = True
                self._runs.discard(running)
                if give_up := self._give_up():
                    give_up(running)
                continue
            if move is Move.STOP:
                late = self._late()
                _log.warning("%s", late)
                self._stop(running, now, late)
            times.append(again)
        if times:
            self._look_at(min(times))

    def _late(self) -> RunTimeout:
        return RunTimeout(
            f'model "{self._model}" version {self._version}: a run took longer than'
            f" {self._limits.timeout:g} s and was ended (run_timeout in [limits] of model.toml)"
        )

    def _stop(self, running: Running, now: float, why: QuantserveError) -> None:
        running.control.terminate = True
        if running.stopped is None:
            running.stopped, running.why = now, why

    def _rest(self) -> None:
        """Stop the timer if no run is left: it would keep the session in memory until it fires."""
        if self._timer is not None and not self._runs:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, at - self._clock()), self.look)
