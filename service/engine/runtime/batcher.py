"""One queue that feeds the instances of one model version.

Everything here runs on the event loop except ``Instance.execute``. The rule is work-conserving: a
free instance runs the waiting requests at once. While all instances are busy, requests queue.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from time import monotonic

from service.core.batching import Batch, BatchingMode, BatchKey, BatchPolicy, BatchQueue, Entry
from service.core.errors import (
    DeadlineExceeded,
    NotReady,
    QueueFull,
    ShuttingDown,
    SignatureMismatch,
    WouldExpire,
)
from service.core.events import BatchExecuted, Observer, Outcome, RequestDropped
from service.core.ledger import UNNOTED, Mark
from service.core.requests import Terms
from service.core.run_limits import DEFAULT_RUN_LIMITS, RunLimits
from service.core.tensors import Arrays, Overriding
from service.core.waiting import WaitEstimate, until_room
from service.engine.runtime.cores import Cores, Share
from service.engine.runtime.execution import Control, Execution, Instance, Unheeded
from service.engine.runtime.parts import Asked, Part, Parts
from service.engine.runtime.replies import Reply, answer
from service.engine.runtime.runs import Marks, Running, Runs
from service.engine.runtime.slots import Slots

TOO_LONG_INLINE = 0.1
"""Seconds. A run may take longer than any run that was measured at load. After one such run in the
event loop, where all requests wait for it, the model runs in a thread."""
_log = logging.getLogger(__name__)


class DynamicBatcher:
    """Queues requests, runs them in batches and resolves their replies. Create it on the event loop
    that it serves.

    ``inline`` runs batches in the event loop itself, for runs shorter than the switch to a thread
    and back; the batcher then has one instance. ``new_mark`` creates the mark of a thread in the
    ledger, ``new_control`` the control that ends a run. ``on_lost`` is called with True when a
    thread does not return from a run that was ended, and with False if it returns after all.
    ``share`` decides when runs in threads may begin; with None the batcher shares no cores.
    ``lone`` runs batches that begin while no core is in use and no request waits; it returns the
    same answers as the other instances.
    """

    def __init__(
        self,
        label: tuple[str, int],
        policy: BatchPolicy,
        instances: Sequence[Instance],
        observe: Observer,
        *,
        inline: bool = False,
        new_mark: Callable[[], Mark] = lambda: UNNOTED,
        limits: RunLimits = DEFAULT_RUN_LIMITS,
        new_control: Callable[[], Control] = Unheeded,
        on_lost: Callable[[bool], None] = lambda _: None,
        share: Share | None = None,
        lone: Instance | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._model, self._version = label
        self._policy = policy
        self._observe = observe
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._runs = Runs(label, limits, new_control, self._give_up, clock)
        # The key of most requests, if their rows always have the same shapes.
        self._usual = None if policy.fixed is None else BatchKey(policy.fixed, None)
        self._marks = Marks(new_mark)
        if inline:
            self._marks.enter_thread()
        self._threads = None if inline else self._pool(len(instances))
        cores, weight, threads = share or Share(Cores(1))
        self._seat = cores.seat(self._model, weight, threads, self._wake)
        # All mutable state: the queue, and the estimate of its waiting time; the free instances;
        # whether _turn is scheduled, and whether the last _turn found nothing queued or running;
        # whether clients may have disconnected; whether the batcher is closed; the marks of threads
        # that do not return; whether other models must run first; the timer for the next dispatch;
        # and the future for callers of drain.
        self._queue: BatchQueue[Reply] = BatchQueue(policy)
        self._estimate = WaitEstimate(len(instances), policy.preferred_rows)
        # A batch that will not grow is passed to an instance that is still running: its core would
        # be idle while the event loop passes the next batch.
        self._slots = Slots(instances, 1 if inline else 2, lone)
        self._scheduled = False
        self._sparse = True
        self._abandoned = False
        self._closed = False
        self._lost: set[Mark] = set()
        self._held = False
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None

    @property
    def free_marks(self) -> list[Mark]:
        """The marks of threads that are neither running nor lost."""
        used = self._runs.marks() | self._lost
        return [mark for mark in self._marks.given if mark not in used]

    @property
    def waiting(self) -> int:
        """The number of requests that wait, as a whole or in part."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """The number of admitted requests without an answer: those waiting and those running."""
        entries = chain(self._queue, self._runs.entries())
        return len({entry.part_of or entry for entry in entries})

    @property
    def instances(self) -> int:
        """The number of instances that can run batches concurrently."""
        return self._slots.instances

    @property
    def busy(self) -> int:
        """The number of instances that are running."""
        return self._slots.busy

    def submit(
        self,
        arrays: Arrays,
        rows: int,
        terms: Terms,
        reply: Reply,
        *,
        alone: bool = False,
        admitted: bool = False,
    ) -> None:
        """Queue a request that fits the signature; the reply receives its outputs.

        With ``alone`` the request shares no run with another request. ``admitted``: the request was
        admitted before, so the limit of the queue does not apply.

        To cancel, cancel the reply, then call ``withdraw``.

        Raises:
            QueueFull: too many requests wait.
            WouldExpire: the request would time out before it runs, because of the waiting requests.
            SignatureMismatch: the request has too many rows for one run and cannot be cut.
            ShuttingDown: the batcher is closed.
        """
        if self._closed:
            raise ShuttingDown(f'model "{self._model}" version {self._version} is being unloaded')
        policy = self._policy
        now = self._clock()
        wait = policy.timeout if terms.timeout is None else terms.timeout
        deadline = None
        if wait is not None:
            deadline = now + wait
            self._check_wait(wait, terms.priority)
        if rows > policy.max_rows or (rows > 1 and policy.mode is BatchingMode.ROWS):
            self._cut(Asked(arrays, rows, terms, alone, now, deadline), reply)
            return
        key = self._key(arrays, terms, alone)
        self._push(Entry(arrays, rows, key, terms.priority, now, deadline, reply), admitted)

    def _check_wait(self, allowed: float, priority: int) -> None:
        """Refuse a request at once if it would time out in the queue: it would only delay others.

        While no request waits every request is admitted, so that a wrong estimate is corrected.

        Raises:
            WouldExpire: see ``submit``.
        """
        if not self._queue:
            return
        wait = self._wait(priority)
        if wait > allowed:
            raise WouldExpire(
                f'model "{self._model}" version {self._version}: a request would wait about'
                f" {wait:.3g} s for its turn, it allows {allowed:.3g} s: try again later",
                wait - allowed,
            )

    def _wait(self, priority: int) -> float:
        return self._estimate.wait(self._queue.rows_ahead(priority), self._slots.under_way)

    def _cut(self, asked: Asked, reply: Reply) -> None:
        """Run a request in parts.

        Raises:
            QueueFull, SignatureMismatch: see ``submit``.
        """
        policy, rows, apart = self._policy, asked.rows, self._policy.mode is BatchingMode.ROWS
        why = policy.refusal
        if isinstance(asked.arrays, Overriding) and not apart:
            why = "a request that overrides defaults of the graph is run whole: send fewer"
        elif rows <= policy.max_rows or policy.part_rows:
            self._queue.check_room(asked.terms.priority)
            size = 1 if apart else policy.part_rows
            self._go_on(Parts(asked, size, reply, self._go_on))
            return
        raise SignatureMismatch(
            f'model "{self._model}" version {self._version}: {rows} rows in one request, at most'
            f" {policy.max_rows} fit; {why}"
        )

    def _go_on(self, parts: Parts) -> None:
        """Queue as many parts of a request as can run at once, so that other requests run in
        between.

        The limit of the queue was checked when the request arrived. So the parts are queued even if
        the queue is full now.
        """
        if parts.done():
            self.withdraw()
            return
        if self._closed:
            parts.fail(ShuttingDown(f'model "{self._model}" was unloaded while this ran'))
            return
        terms, deadline = parts.asked.terms, parts.asked.deadline
        while parts.under_way < max(1, self._slots.count) and (part := parts.next()):
            # The part arrives now, so that it does not run before requests that arrived meanwhile.
            now, arrays = self._clock(), part.arrays
            key = self._key(arrays, terms, parts.asked.alone)
            entry: Entry[Reply] = Entry(
                arrays, part.rows, key, terms.priority, now, deadline, part, part_of=parts
            )
            self._push(entry, admitted=True)

    def withdraw(self) -> None:
        """Remove requests whose reply was cancelled from the queue."""
        self._abandoned = True
        self._wake()

    async def drain(self) -> None:
        """Wait until all admitted requests are answered."""
        if self._queue or self.busy:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def close(self, reason: str = "") -> None:
        """Refuse new requests, reject the waiting ones, and end the running ones.

        ``reason`` is why the model is unavailable, for the error of these requests; "" if the model
        is unloaded.
        """
        self._closed = True
        model = f'model "{self._model}"'
        told = NotReady(f"{model} is UNAVAILABLE: {reason}") if reason else None
        for entry in self._queue.remove(lambda _: True):
            answer(entry.reply, told or ShuttingDown(f"{model} was unloaded while this waited"))
        for running in self._runs.stop_all(
            told or ShuttingDown(f"{model} was unloaded while this ran")
        ):
            self._slots.give_back(running.instance)
            self._forget(running)
        self._seat.rest()
        if self._threads is not None:
            self._threads.shutdown(wait=False)
        if self._timer is not None:
            self._timer.cancel()  # it would keep the batcher in memory until a deadline
            self._timer = None
        if self._drained is not None:
            self._wake()

    def _key(self, arrays: Arrays, terms: Terms, alone: bool) -> BatchKey:
        if alone:
            return BatchKey((), terms.outputs, object())
        if self._usual is not None and terms.outputs is None:
            return self._usual
        return BatchKey(self._policy.row_shapes(arrays), terms.outputs)

    def _push(self, entry: Entry[Reply], admitted: bool = False) -> None:
        if (
            self._sparse
            and not self._scheduled
            and self._slots.any_free
            and not self._waits(entry)
            and self._may_begin()
        ):
            self._wake()
            self._begin(Batch((entry,), entry.rows))
            return
        try:
            self._queue.push(entry, admitted)
        except QueueFull as full:
            full.retry_after = until_room(self._wait(entry.priority))
            raise
        self._wake()

    def _waits(self, entry: Entry[Reply]) -> bool:
        return bool(self._queue) or self._policy.max_delay > 0 or entry.deadline is not None

    def _wake(self) -> None:
        # Not at once, but after the requests that arrive in the same iteration of the event loop:
        # they share a batch. (While requests arrive one at a time, ``_push`` does not wait.)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._sparse = not self._queue and not self.busy
        self._dispatch()

    def _dispatch(self) -> None:
        """Pass due batches to free instances.

        Called when this may be possible: a request arrived, an instance became free, a client
        disconnected, a deadline passed or the queue delay ended.
        """
        queue, now = self._queue, self._clock()
        self._drop_unwanted(now)
        self._held = False
        while self._slots.any_free and queue and self._may_begin():
            idle = self._slots.instances - self._slots.busy
            batch = queue.pop(now, full=not idle, idle=idle)
            if batch is None:
                break
            self._begin(batch)
            if self._threads is None:
                break  # One batch an iteration: answers are sent and requests arrive in between.
        if not self._held:
            self._seat.rest()
        if queue or self._timer is not None:
            self._set_timer()
        if self._drained and not queue and not self.busy:
            self._drained.set_result(None)
            self._drained = None

    def _may_begin(self) -> bool:
        # Runs in the event loop alternate by themselves: one for each iteration of the loop.
        self._held = self._threads is not None and not self._seat.ask()
        return not self._held

    def _begin(self, batch: Batch[Reply]) -> None:
        instance = self._slots.take()
        if self._threads is None:
            mark = self._marks.of_thread()
            mark.begin()
            execution = instance.execute(batch)
            mark.end()
            if execution.timing.compute > TOO_LONG_INLINE:
                _log.warning("model %s runs in a thread now: a run took too long", self._model)
                self._threads = self._pool(1)
            self._slots.give_back(instance)
            self._finish(batch, execution)
        else:
            alone = self._slots.has_lone and not self._queue and self._seat.all_free
            runner = self._slots.runner(instance, alone=alone)
            self._seat.begin()
            running = self._runs.begin(instance, batch, runner)
            running.thread = self._threads.submit(self._execute, running)

    def _pool(self, threads: int) -> ThreadPoolExecutor:
        # The pool must not refer to the batcher: a reference cycle lives until a garbage
        # collection, and keeps the session in memory.
        return ThreadPoolExecutor(threads, self._model, initializer=self._marks.enter_thread)

    def _drop_unwanted(self, now: float) -> None:
        for entry in self._queue.expire(now):
            waited = now - entry.arrived
            self._observe(RequestDropped(self._model, self._version, Outcome.EXPIRED, waited))
            answer(entry.reply, _too_late(entry, now))
        if self._abandoned:
            self._abandoned = False
            self._runs.stop_unwanted()
            for entry in self._queue.remove(lambda entry: entry.reply.done()):
                waited = now - entry.arrived
                self._observe(RequestDropped(self._model, self._version, Outcome.CANCELLED, waited))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        may_begin = not self._slots.all_busy and not self._held
        times = [self._queue.next_deadline(), self._queue.due() if may_begin else None]
        at = min((time for time in times if time is not None), default=None)
        if at is not None:
            self._timer = self._loop.call_later(max(0.0, at - self._clock()), self._wake)

    def _execute(self, running: Running) -> None:
        running.mark = mark = self._marks.of_thread()
        running.started = self._clock()
        mark.begin()
        execution = running.runner.execute(running.batch, running.control)
        mark.end()
        self._loop.call_soon_threadsafe(self._returned, running, execution)

    def _returned(self, running: Running, execution: Execution) -> None:
        if running.lost:
            self._lost.discard(running.mark)
            self._on_lost(False)
            return
        self._runs.end(running)
        self._seat.end(execution.timing.total, bool(self._queue))
        if running.why is not None:
            execution = execution.instead(running.why)
        self._slots.ran(running.runner, running.batch.rows, execution.timing.compute)
        self._slots.give_back(running.instance)
        if self._queue:
            # Before the answers are written: the core would be idle meanwhile.
            self._dispatch()
        self._finish(running.batch, execution)

    def _give_up(self, running: Running) -> None:
        """Answer the requests of a thread that does not return. Its instance is lost."""
        self._lost.add(running.mark)
        self._slots.lose()
        self._forget(running)
        self._on_lost(True)

    def _forget(self, running: Running) -> None:
        """Answer requests that no thread will answer."""
        self._seat.end(0.0, more=False)
        for entry in running.batch.entries:
            if running.why is not None:
                answer(entry.reply, running.why)
        if self._drained:
            self._wake()

    def _finish(self, batch: Batch[Reply], execution: Execution) -> None:
        if self._queue or self._drained:
            self._wake()
        started = self._clock() - execution.timing.total
        failed = 0
        for entry, result in zip(batch.entries, execution.results, strict=True):
            failed += answer(entry.reply, result)
        queued = tuple([started - entry.arrived for entry in batch.entries])
        event = BatchExecuted(
            self._model,
            self._version,
            batch.rows,
            queued,
            execution.timing,
            failed,
            batch.entries,
        )
        self._observe(event)
        self._estimate.finished(batch.rows, self._clock(), bool(self._queue))
        if not failed:
            self._estimate.ran(batch.rows, execution.timing.total)
        else:
            # If a part of a request failed, its other parts are not needed any more.
            self._abandoned = True


def _too_late(entry: Entry[Reply], now: float) -> DeadlineExceeded:
    reply, what, arrived = entry.reply, "the request", entry.arrived
    if isinstance(reply, Part):
        what, arrived = str(reply), reply.asked.arrived
    allowed = (entry.deadline or 0.0) - arrived
    return DeadlineExceeded(
        f"{what} waited {(now - arrived) * 1e3:.3f} ms for its turn, it allowed"
        f" {allowed * 1e3:.3f} ms"
    )
