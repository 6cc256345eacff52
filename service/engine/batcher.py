"""One queue feeding the instances of one model version.

Everything here runs on the event loop except ``Instance.execute``. The rule is work-conserving:
a free instance takes what waits, at once; while all are busy, requests gather.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import numpy as np

from service.core.batching import Batch, BatchingMode, BatchKey, BatchPolicy, BatchQueue, Entry
from service.core.errors import DeadlineExceeded, QuantserveError, ShuttingDown, SignatureMismatch
from service.core.events import BatchExecuted, Observer, Outcome, RequestDropped
from service.core.requests import DEFAULT_TERMS, Terms
from service.core.tensors import Arrays
from service.engine.execution import Execution, Instance, Result

Reply = asyncio.Future[Arrays]


class DynamicBatcher:
    """Takes requests, answers futures. Must be made on the event loop that it serves.

    ``inline`` runs batches in the event loop itself: for runs shorter than the way to a thread and
    back. It then has one instance.
    """

    def __init__(
        self,
        label: tuple[str, int],
        policy: BatchPolicy,
        instances: Sequence[Instance],
        observe: Observer,
        *,
        inline: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._model, self._version = label
        self._policy = policy
        self._observe = observe
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._threads = None if inline else ThreadPoolExecutor(len(instances), f"{label[0]}")
        self.instances = len(instances)
        # All mutable state: the queue, the instances that are free, how many requests the others
        # work on, and three flags and a timer that bring about the next call of _dispatch.
        self._queue: BatchQueue[Reply] = BatchQueue(policy)
        self._idle = list(instances)
        self._running = 0
        self._scheduled = False
        self._abandoned = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

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
        return self.instances - len(self._idle)

    def submit(self, arrays: Arrays, rows: int, terms: Terms = DEFAULT_TERMS) -> Reply:
        """Queue a request that fits the signature; the future gives its outputs.

        Cancelling the future takes the request out of the queue.

        Raises:
            QueueFull: too many requests wait.
            SignatureMismatch: more rows than one request may have.
            ShuttingDown: the batcher is closed.
        """
        if self._closed:
            raise ShuttingDown(f'model "{self._model}" version {self._version} is being unloaded')
        policy = self._policy
        if rows > policy.max_rows:
            raise SignatureMismatch(f"{rows} rows in one request, at most {policy.max_rows} fit")
        now = self._clock()
        wait = policy.timeout if terms.timeout is None else terms.timeout
        deadline = None if wait is None else now + wait
        if policy.mode is not BatchingMode.ROWS or rows == 1:
            return self._push(arrays, rows, terms, now, deadline)
        self._queue.reserve(rows)
        parts = (tuple(array[i : i + 1] for array in arrays) for i in range(rows))
        return asyncio.ensure_future(_join([self._push(p, 1, terms, now, deadline) for p in parts]))

    async def drain(self) -> None:
        """Wait until every request that was taken has been answered."""
        await self._empty.wait()

    def close(self) -> None:
        """Take no more requests, and turn away those that still wait; running ones finish."""
        self._closed = True
        for entry in self._queue.remove(lambda _: True):
            _answer(entry, ShuttingDown(f'model "{self._model}" was unloaded while this waited'))
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def _push(
        self, arrays: Arrays, rows: int, terms: Terms, now: float, deadline: float | None
    ) -> Reply:
        reply: Reply = self._loop.create_future()
        key = BatchKey(self._policy.row_shapes(arrays), terms.outputs)
        self._queue.push(Entry(arrays, rows, key, terms.priority, now, deadline, reply))
        reply.add_done_callback(self._replied)
        self._empty.clear()
        self._wake()
        return reply

    def _replied(self, reply: Reply) -> None:
        if reply.cancelled():
            self._abandoned = True
            self._wake()

    def _wake(self) -> None:
        # Not at once but after the requests that arrived in the same turn of the loop: they go
        # together, at no cost in time.
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Give due batches to free instances.

        Called whenever that could have become possible: a request came, an instance came free, a
        client left, a deadline passed or the queue delay ran out.
        """
        self._scheduled = False
        self._drop_unwanted()
        while self._idle and (batch := self._queue.pop(self._clock())):
            instance = self._idle.pop()
            self._running += len(batch.entries)
            if self._threads is not None:
                self._threads.submit(self._execute, instance, batch)
                continue
            self._finish(instance, batch, instance.execute(batch))
            break
        self._set_timer()
        if not self._queue and not self.busy:
            self._empty.set()

    def _drop_unwanted(self) -> None:
        now = self._clock()
        for entry in self._queue.expire(now):
            waited = now - entry.arrived
            self._observe(RequestDropped(self._model, self._version, Outcome.EXPIRED, waited))
            _answer(entry, DeadlineExceeded(f"waited {waited:.3f} s, longer than it allowed"))
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
        execution = instance.execute(batch)
        self._loop.call_soon_threadsafe(self._finish, instance, batch, execution)

    def _finish(self, instance: Instance, batch: Batch[Reply], execution: Execution) -> None:
        self._idle.append(instance)
        self._running -= len(batch.entries)
        self._wake()
        started = self._clock() - execution.timing.total
        failed = 0
        for entry, result in zip(batch.entries, execution.results, strict=True):
            failed += _answer(entry, result)
        queued = tuple([max(0.0, started - entry.arrived) for entry in batch.entries])
        event = BatchExecuted(
            self._model, self._version, batch.rows, queued, execution.timing, failed
        )
        self._observe(event)


def _answer(entry: Entry[Reply], result: Result) -> bool:
    """Answer whoever still waits; True where the answer is an error."""
    failed = isinstance(result, QuantserveError)
    if not entry.reply.done():
        if isinstance(result, QuantserveError):
            entry.reply.set_exception(result)
        else:
            entry.reply.set_result(result)
    return failed


async def _join(parts: list[Reply]) -> Arrays:
    try:
        rows = await asyncio.gather(*parts)
    except BaseException:
        for part in parts:
            part.cancel()
        raise
    return tuple(np.concatenate(outputs) for outputs in zip(*rows, strict=True))
