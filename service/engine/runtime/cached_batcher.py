"""A batcher that runs equal requests once, and caches the outputs.

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
"""The cache key of a request, its priority and its timeout. Requests with the same three share a
run."""


class Flight:
    """The reply of a running request, shared by all equal requests that arrive until it ends.

    ``ended`` is called with the outputs, or with the error.
    """

    def __init__(
        self, leader: Reply, ended: Callable[["Flight", Arrays | BaseException], None]
    ) -> None:
        self.whole = leader
        """The reply of the request that is run. Traces read it here."""
        self.followers: list[tuple[Reply, float]] = []
        """The replies of equal requests, each with its time of arrival."""
        self._ended = ended

    def done(self) -> bool:
        """Return True if all clients of the outputs have disconnected or are answered."""
        return self.whole.done() and all([reply.done() for reply, _ in self.followers])

    def set_result(self, outputs: Arrays) -> None:
        """Answer all requests with the outputs."""
        self._ended(self, outputs)

    def set_exception(self, error: BaseException) -> None:
        """Answer all requests after an error."""
        self._ended(self, error)


class Request(NamedTuple):
    """The arguments of ``submit``."""

    arrays: Arrays
    rows: int
    terms: Terms
    alone: bool
    admitted: bool


class CachedBatcher:
    """Looks requests up in ``cache`` before passing them to ``batcher``.

    A request waits for the outputs of an equal request that is running or queued, if both have the
    same priority and timeout. ``timeout`` in seconds is for requests without a timeout; ``limit``
    is the most requests that may wait.
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
        # All mutable state except the cache's: the requests that are running or queued, the number
        # of their followers, and whether _sweep is scheduled.
        self._flights: dict[Place, Flight] = {}
        self._following = 0
        self._sweeps = False

    @property
    def free_marks(self) -> list[Mark]:
        """The marks that no thread uses."""
        return self._batcher.free_marks

    @property
    def waiting(self) -> int:
        """The number of requests in the queue, and of those that wait for the outputs of others."""
        return self._batcher.waiting + self._following

    @property
    def in_flight(self) -> int:
        """The number of admitted requests without an answer."""
        return self._batcher.in_flight + self._following

    @property
    def busy(self) -> int:
        """The number of instances that are running."""
        return self._batcher.busy

    @property
    def instances(self) -> int:
        """The number of instances that can run batches concurrently."""
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
        """Follow an equal request that is running or queued; else queue this request."""
        flight = self._flights.get(place)
        if flight is not None and not flight.done():
            if self.waiting >= self._limit and not request.admitted:
                self._enter(request, reply)  # raises QueueFull if the queue is full
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
            # This request arrived later, and has time left.
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
            # Once for all clients that disconnect in the same iteration of the event loop.
            self._sweeps = True
            self._loop.call_soon(self._sweep)

    def _sweep(self) -> None:
        """Remove flights without a client: the batcher does not answer them."""
        self._sweeps = False
        for place, flight in list(self._flights.items()):
            if flight.done():
                self._forget(place, flight)

    async def drain(self) -> None:
        """Wait until all admitted requests are answered."""
        await self._batcher.drain()

    def close(self, reason: str = "") -> None:
        """Refuse new requests; see ``DynamicBatcher.close``."""
        self._batcher.close(reason)


def _refuse(reply: Reply, error: BaseException) -> None:
    if not reply.done():
        reply.set_exception(error)
