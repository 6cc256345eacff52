"""A batcher that answers equal requests once, and keeps the outputs.

Everything here runs on the event loop.
"""

import asyncio
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import NamedTuple

from service.core.errors import DeadlineExceeded, QuantserveError
from service.core.events import CacheLookup, Observer
from service.core.ledger import Mark
from service.core.requests import Terms
from service.core.response_cache import ResponseCache, key_of
from service.core.tensors import Arrays
from service.engine.runtime.replies import Reply, answer
from service.engine.runtime.split_batcher import TensorBatcher

Place = tuple[bytes, int, float | None]
"""What a request asks, its priority and its timeout: those of one place wait together."""


class Flight:
    """The reply of a running request, shared by all equal requests that come until it ends.

    ``ended`` is called with the outputs, or with the error.
    """

    def __init__(
        self, leader: Reply, ended: Callable[["Flight", Arrays | BaseException], None]
    ) -> None:
        self.whole = leader
        """The request that is run; traces look for it here."""
        self.followers: list[tuple[Reply, float]] = []
        """Those that wait for its outputs, and since when."""
        self._ended = ended

    def done(self) -> bool:
        """Whether all clients of the outputs have disconnected."""
        return self.whole.done() and all([reply.done() for reply, _ in self.followers])

    def set_result(self, outputs: Arrays) -> None:
        """Answer all with the outputs."""
        self._ended(self, outputs)

    def set_exception(self, error: BaseException) -> None:
        """Answer with an error."""
        self._ended(self, error)


class Request(NamedTuple):
    """What the batcher is asked."""

    arrays: Arrays
    rows: int
    terms: Terms
    alone: bool
    admitted: bool


class CachedBatcher:
    """Looks requests up in ``cache`` before ``batcher`` gets them.

    A request that equals one under way waits for its outputs, if both wait on the same terms.
    ``timeout`` is that of requests which name none, in seconds; ``limit`` how many may wait.
    """

    def __init__(
        self,
        label: tuple[str, int],
        batcher: TensorBatcher,
        cache: ResponseCache,
        observe: Observer,
        *,
        timeout: float | None,
        limit: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._model, self._version = label
        self._batcher, self.cache = batcher, cache
        self._observe = observe
        self._timeout, self._limit = timeout, limit
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        # All mutable state beside the cache's: what is under way, how many follow, and whether
        # _sweep is about to be called.
        self._flights: dict[Place, Flight] = {}
        self._following = 0
        self._sweeps = False

    @property
    def free_marks(self) -> list[Mark]:
        """The marks that no thread uses."""
        return self._batcher.free_marks

    @property
    def waiting(self) -> int:
        """Requests in the queue, and those that wait for the outputs of others."""
        return self._batcher.waiting + self._following

    @property
    def in_flight(self) -> int:
        """Requests that were taken and not yet answered."""
        return self._batcher.in_flight + self._following

    @property
    def busy(self) -> int:
        """Instances at work."""
        return self._batcher.busy

    @property
    def instances(self) -> int:
        """Instances that can run batches side by side."""
        return self._batcher.instances

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
        """Answer a request from the cache, or queue it; see ``DynamicBatcher.submit``."""
        request = Request(arrays, rows, terms, alone, admitted)
        started = perf_counter()
        key = key_of(arrays, terms.outputs, alone)
        if key is None:
            self._enter(request, reply)
            return
        outputs = self.cache.get(key)
        seconds, hit = perf_counter() - started, outputs is not None
        self._observe(CacheLookup(self._model, self._version, hit, seconds))
        if outputs is not None:
            answer(reply, outputs)
        else:
            self._fly((key, terms.priority, terms.timeout), request, reply)

    def _fly(self, place: Place, request: Request, reply: Reply) -> None:
        """Wait for an equal request that is under way, or become one."""
        flight = self._flights.get(place)
        if flight is not None and not flight.done():
            if self.waiting >= self._limit and not request.admitted:
                self._enter(request, reply)  # which says that the queue is full, if it is
                return
            flight.followers.append((reply, self._clock()))
            self._following += 1
            return

        def ended(flight: Flight, result: Arrays | BaseException) -> None:
            self._forget(place, flight)
            if isinstance(result, BaseException):
                self._fail(flight, request, result)
                return
            self.cache.put(place[0], result)
            for one in (flight.whole, *[follower for follower, _ in flight.followers]):
                answer(one, result)

        if flight is not None:
            self._forget(place, flight)
        flight = self._flights[place] = Flight(reply, ended)
        try:
            self._enter(request, flight)
        except BaseException:
            self._forget(place, flight)
            raise

    def _enter(self, request: Request, reply: Reply) -> None:
        arrays, rows, terms, alone, admitted = request
        self._batcher.submit(arrays, rows, terms, reply, alone=alone, admitted=admitted)

    def _forget(self, place: Place, flight: Flight) -> None:
        if self._flights.get(place) is flight:
            del self._flights[place]
            self._following -= len(flight.followers)

    def _fail(self, flight: Flight, request: Request, error: BaseException) -> None:
        _refuse(flight.whole, error)
        for reply, arrived in flight.followers:
            if reply.done():
                continue
            if not isinstance(error, DeadlineExceeded):
                _refuse(reply, error)
                continue
            # It came later, and its own time is not over.
            terms = request.terms
            allowed = self._timeout if terms.timeout is None else terms.timeout
            if allowed is not None:
                left = max(0.0, arrived + allowed - self._clock())
                terms = terms._replace(timeout=left)
            try:
                self._enter(request._replace(terms=terms), reply)
            except QuantserveError as refused:
                _refuse(reply, refused)

    def withdraw(self) -> None:
        """Remove requests whose reply was cancelled."""
        self._batcher.withdraw()
        if not self._sweeps:
            # Once for all clients that leave in the same turn of the loop.
            self._sweeps = True
            self._loop.call_soon(self._sweep)

    def _sweep(self) -> None:
        """Drop flights without a client: the batcher does not answer them."""
        self._sweeps = False
        for place, flight in list(self._flights.items()):
            if flight.done():
                self._forget(place, flight)

    async def drain(self) -> None:
        """Wait until every request that was taken has been answered."""
        await self._batcher.drain()

    def close(self, reason: str = "") -> None:
        """Take no more requests; see ``DynamicBatcher.close``."""
        self._batcher.close(reason)


def _refuse(reply: Reply, error: BaseException) -> None:
    if not reply.done():
        reply.set_exception(error)
