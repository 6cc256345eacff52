"""One queue feeding the instances of one model version.

Everything here runs on the event loop except ``Instance.execute``. The rule is work-conserving:
a free instance takes what waits, at once; while all are busy, requests gather.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import local
from time import monotonic

from service.core.batching import Batch, BatchingMode, BatchKey, BatchPolicy, BatchQueue, Entry
from service.core.errors import (
    DeadlineExceeded,
    QuantserveError,
    ShuttingDown,
    SignatureMismatch,
)
from service.core.events import BatchExecuted, Observer, Outcome, RequestDropped
from service.core.ledger import UNNOTED, Mark
from service.core.requests import Terms
from service.core.tensors import Arrays, Overriding
from service.engine.execution import Execution, Instance, Result
from service.engine.replies import Reply, Row, Rows

TOO_LONG_INLINE = 0.1
"""Seconds; a run may take longer than any that was measured at load. Who does so once in the event
loop, where all others wait for it, does so no more."""

_log = logging.getLogger(__name__)


class DynamicBatcher:
    """Takes requests, answers futures. Must be made on the event loop that it serves.

    ``inline`` runs batches in the event loop itself: for runs shorter than the way to a thread and
    back. It then has one instance. ``new_mark`` gives what notes that a thread is at work.
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
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._model, self._version = label
        self._policy = policy
        self._observe = observe
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._marks = _Marks(new_mark)
        if inline:
            self._marks.enter_thread()
        self._threads = None if inline else self._pool(len(instances))
        self.instances = len(instances)
        # All mutable state: the queue; the free instances, and how many requests the others work
        # on; whether _turn is about to be called, and whether the last one found nothing to do;
        # whether there are requests that nobody waits for, and the timer for the next dispatch;
        # whether nothing is taken any more; and what those wait for who want everything answered.
        self._queue: BatchQueue[Reply] = BatchQueue(policy)
        # Where requests do not share runs, the next one goes to an instance while it still works:
        # on the way over the event loop between two runs its core would be idle.
        ahead = 2 if self._threads is not None and policy.preferred_rows == 1 else 1
        self._slots = ahead * len(instances)
        self._idle = list(instances) * ahead
        self._running = 0
        self._scheduled = False
        self._sparse = True
        self._abandoned = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None

    @property
    def marks(self) -> list[Mark]:
        """What notes that the threads are at work."""
        return self._marks.given

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Requests that were taken and not yet answered: those waiting and those being run."""
        return len(self._queue) + self._running

    @property
    def busy(self) -> int:
        """Instances at work."""
        return min(self.instances, self._slots - len(self._idle))

    def submit(
        self, arrays: Arrays, rows: int, terms: Terms, reply: Reply, *, alone: bool = False
    ) -> None:
        """Queue a request that fits the signature; the reply gets its outputs.

        With ``alone`` it shares no run with another request.

        Who no longer wants them calls ``withdraw`` once the reply says that it is done.

        Raises:
            QueueFull: too many requests wait.
            SignatureMismatch: more rows than one request may have.
            ShuttingDown: the batcher is closed.
        """
        if self._closed:
            raise ShuttingDown(f'model "{self._model}" version {self._version} is being unloaded')
        policy = self._policy
        apart = rows > 1 and policy.mode is BatchingMode.ROWS
        most = min(policy.max_rows, policy.max_queue) if apart else policy.max_rows
        if rows > most:
            raise SignatureMismatch(f"{rows} rows in one request, at most {most} fit")
        now = self._clock()
        wait = policy.timeout if terms.timeout is None else terms.timeout
        deadline = None if wait is None else now + wait
        if apart:
            self._queue.reserve(rows)
            whole = Rows(reply, rows)
            for i in range(rows):
                self._push(_row(arrays, i), 1, terms, now, deadline, Row(whole, i), alone)
        else:
            self._push(arrays, rows, terms, now, deadline, reply, alone)

    def withdraw(self) -> None:
        """Take requests whose future was cancelled out of the queue."""
        self._abandoned = True
        self._wake()

    async def drain(self) -> None:
        """Wait until every request that was taken has been answered."""
        if self._queue or self.busy:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def close(self) -> None:
        """Take no more requests, and turn away those that still wait; running ones finish."""
        self._closed = True
        for entry in self._queue.remove(lambda _: True):
            _answer(entry, ShuttingDown(f'model "{self._model}" was unloaded while this waited'))
        if self._threads is not None:
            self._threads.shutdown(wait=False)
        if self._timer is not None:
            self._timer.cancel()  # it would hold everything until a deadline that may be far away
            self._timer = None
        if self._drained is not None:
            self._wake()

    def _push(
        self,
        arrays: Arrays,
        rows: int,
        terms: Terms,
        now: float,
        deadline: float | None,
        reply: Reply,
        alone: bool,
    ) -> None:
        if alone:
            key = BatchKey((), terms.outputs, object())
        else:
            key = BatchKey(self._policy.row_shapes(arrays), terms.outputs)
        entry = Entry(arrays, rows, key, terms.priority, now, deadline, reply)
        if self._sparse and not self._scheduled and self._idle and not self._waits(entry):
            self._wake()
            self._begin(Batch((entry,), rows))
        else:
            self._queue.push(entry)
            self._wake()

    def _waits(self, entry: Entry[Reply]) -> bool:
        return bool(self._queue) or self._policy.max_delay > 0 or entry.deadline is not None

    def _wake(self) -> None:
        # Not at once but after the requests that arrived in the same turn of the loop: they go
        # together. (While requests come one at a time, the first of a turn does not wait for more.)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._sparse = not self._queue and not self.busy
        self._dispatch()

    def _dispatch(self) -> None:
        """Give due batches to free instances.

        Called whenever that could have become possible: a request came, an instance came free, a
        client left, a deadline passed or the queue delay ran out.
        """
        queue, now = self._queue, self._clock()
        self._drop_unwanted(now)
        while self._idle and queue and (batch := queue.pop(now)):
            self._begin(batch)
            if self._threads is None:
                break  # One batch a turn, so that answers leave and requests arrive between two.
        if queue or self._timer is not None:
            self._set_timer()
        if self._drained and not queue and not self.busy:
            self._drained.set_result(None)
            self._drained = None

    def _begin(self, batch: Batch[Reply]) -> None:
        instance = self._idle.pop()
        self._running += len(batch.entries)
        if self._threads is None:
            mark = self._marks.of_thread()
            mark.begin()
            execution = instance.execute(batch)
            mark.end()
            if execution.timing.compute > TOO_LONG_INLINE:
                _log.warning("model %s runs in a thread now: a run took too long", self._model)
                self._threads = self._pool(1)
            self._finish(instance, batch, execution)
        else:
            self._threads.submit(self._execute, instance, batch)

    def _pool(self, threads: int) -> ThreadPoolExecutor:
        # The pool must not hold the batcher: what holds each other lives until a collection, and
        # the session with it.
        return ThreadPoolExecutor(threads, self._model, initializer=self._marks.enter_thread)

    def _drop_unwanted(self, now: float) -> None:
        for entry in self._queue.expire(now):
            waited = now - entry.arrived
            self._observe(RequestDropped(self._model, self._version, Outcome.EXPIRED, waited))
            _answer(entry, _too_late(entry, waited))
        if self._abandoned:
            self._abandoned = False
            for entry in self._queue.remove(lambda entry: entry.reply.done()):
                waited = now - entry.arrived
                self._observe(RequestDropped(self._model, self._version, Outcome.CANCELLED, waited))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        times = [self._queue.next_deadline(), self._queue.due() if self._idle else None]
        at = min((time for time in times if time is not None), default=None)
        if at is not None:
            self._timer = self._loop.call_later(max(0.0, at - self._clock()), self._wake)

    def _execute(self, instance: Instance, batch: Batch[Reply]) -> None:
        mark = self._marks.of_thread()
        mark.begin()
        execution = instance.execute(batch)
        mark.end()
        self._loop.call_soon_threadsafe(self._finish, instance, batch, execution)

    def _finish(self, instance: Instance, batch: Batch[Reply], execution: Execution) -> None:
        self._idle.append(instance)
        self._running -= len(batch.entries)
        if self._queue or self._drained:
            self._wake()
        started = self._clock() - execution.timing.total
        failed = 0
        for entry, result in zip(batch.entries, execution.results, strict=True):
            failed += _answer(entry, result)
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
        if failed:
            # The other rows of a request that failed in one are not wanted any more.
            self._abandoned = True


def _row(arrays: Arrays, place: int) -> Arrays:
    row = tuple([array[place : place + 1] for array in arrays])
    return Overriding(row, arrays.overrides) if isinstance(arrays, Overriding) else row


class _Marks:
    """A mark for each thread: an instance may wait for one while it is at work in another."""

    def __init__(self, new_mark: Callable[[], Mark]) -> None:
        self._new_mark = new_mark
        self._local = local()
        self.given: list[Mark] = []

    def enter_thread(self) -> None:
        """Give this thread its mark."""
        self._local.mark = mark = self._new_mark()
        self.given.append(mark)

    def of_thread(self) -> Mark:
        """The mark of this thread."""
        mark: Mark = self._local.mark
        return mark


def _too_late(entry: Entry[Reply], waited: float) -> DeadlineExceeded:
    allowed = (entry.deadline or 0.0) - entry.arrived
    return DeadlineExceeded(
        f"the request waited {waited * 1e3:.3f} ms for its turn, it allowed {allowed * 1e3:.3f} ms"
    )


def _answer(entry: Entry[Reply], result: Result) -> bool:
    """Answer whoever still waits; True where the answer is an error.

    A reply that raises hurts nobody else: the others of its batch are answered.
    """
    reply, failed = entry.reply, isinstance(result, QuantserveError)
    try:
        if not reply.done():
            if isinstance(result, QuantserveError):
                reply.set_exception(result)
            else:
                reply.set_result(result)
    except Exception as error:
        _log.error("a reply failed: %s: %s", type(error).__name__, error)
        _log.debug("a reply failed", exc_info=True)
        return True
    return failed
