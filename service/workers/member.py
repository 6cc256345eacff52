"""The channel of a worker to its supervisor: changes and votes, served versions, metrics."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Any

from service.core.errors import ShuttingDown
from service.core.ledger import Work
from service.supervised import Seat
from service.supervision.lines import Lines, encoded
from service.supervision.merging import Page
from service.workers.ballot import Ballot

BEAT_SECONDS = 0.1
PATIENCE = 5.0
"""Seconds that the supervisor may take to collect a page."""

_log = logging.getLogger("quantserve")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of all workers."""

    model: str
    verb: str
    arguments: Mapping[str, Any]


CarryOut = Callable[[Change, Ballot], Awaitable[Any]]
Standing = Callable[[], Mapping[str, Any]]


class Member(asyncio.Protocol):
    """A worker's connection to its supervisor; ``start`` attaches it to an event loop."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self._lines = Lines()
        self._numbers = count(1)
        # All mutable state: the channel; the callbacks that carry out changes, return the served
        # versions and the metrics, and handle the beginning of the stop; the running changes; the
        # open proposals and scrapes; the answer expected from the supervisor; and the models whose
        # changes another worker counts.
        self._transport: asyncio.WriteTransport | None = None
        self._carry_out: CarryOut | None = None
        self._standing: Standing | None = None
        self._page: Callable[[], Page] = dict
        self._stop: Callable[[], None] = lambda: None
        self._ballots: dict[int, Ballot] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: dict[int, asyncio.Event] = {}
        self._results: dict[int, asyncio.Future[Any]] = {}
        self._scrapes: dict[int, asyncio.Future[Page]] = {}
        self._answer: asyncio.Future[Mapping[str, Any]] | None = None
        self.joined = False
        self.following: set[str] = set()

    async def start(
        self,
        carry_out: CarryOut,
        standing: Standing,
        page: Callable[[], Page],
        stop: Callable[[], None],
    ) -> None:
        """Connect, and start the heartbeat of the event loop. ``stop`` is called in a dedicated
        worker when the other workers begin to stop."""
        self._carry_out, self._standing, self._page = carry_out, standing, page
        self._stop = stop
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(lambda: self, sock=self.seat.channel)
        self._transport = transport
        self._begin(self._beat())

    async def standing(self) -> Mapping[str, Any] | None:
        """Return the versions that the other workers serve; None if there are no other workers."""
        found = await self._asked({"event": "hello"})
        standing: Mapping[str, Any] | None = found["standing"]
        return standing

    async def join(self) -> Mapping[str, Any] | None:
        """Join the workers that carry out changes. Return None, or the versions to load first if
        this worker serves others."""
        assert self._standing is not None, "it was started. This is a bug."
        found = await self._asked({"event": "join", "standing": self._standing()})
        self.joined = found["event"] == "joined"
        return None if self.joined else found["standing"]

    async def propose(self, model: str, verb: str, arguments: Mapping[str, Any]) -> Any:
        """Propose a change to all workers. Return the result of this worker once all have ended.

        Raises:
            QuantserveError: the change failed in this worker.
            ShuttingDown: this worker has not joined the others yet.
        """
        if not self.joined:
            raise ShuttingDown("this worker is still starting; nothing was changed, try again")
        number, finished = next(self._numbers), asyncio.Event()
        self._finished[number] = finished
        self._results[number] = result = asyncio.get_running_loop().create_future()
        try:
            message = {"proposal": number, "model": model, "verb": verb, "arguments": arguments}
            self.tell({"event": "propose", **message})
            await finished.wait()
            return await result
        finally:
            del self._finished[number], self._results[number]
            if result.done() and not result.cancelled():
                result.exception()  # mark the exception as retrieved

    async def page(self) -> Page:
        """Return the metrics of all workers, or of this worker only if the supervisor does not
        answer."""
        number = next(self._numbers)
        found: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self._scrapes[number] = found
        self.tell({"event": "scrape", "scrape": number})
        try:
            async with asyncio.timeout(PATIENCE):
                return await found
        except TimeoutError:
            return self._page()
        finally:
            del self._scrapes[number]

    def try_again(self, work: Work) -> None:
        """Ask the supervisor to forget the crashes of a version that an operator serves again."""
        self.tell({"event": "try again", "model": work.model, "version": work.version})

    @property
    def polls(self) -> bool:
        """True for the worker that polls the models folder for all: the first that accepts
        connections."""
        connections = self.seat.board.connections
        return self.joined and all(connections(each) is None for each in self.seat.before)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message to the supervisor."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encoded(message))

    def data_received(self, data: bytes) -> None:
        """Called with data from the supervisor."""
        for message in self._lines.feed(data):
            self._take(message)

    def connection_lost(self, error: Exception | None) -> None:
        """End this process: called when the supervisor has ended and could no longer stop it."""
        _log.error("the supervisor has ended; this worker ends too")
        # On Linux the kernel sends the signal: see ``forking``. A second one would end this
        # process without a drain.
        if sys.platform != "linux":
            os.kill(os.getpid(), signal.SIGTERM)

    def _take(self, message: Mapping[str, Any]) -> None:
        event = message["event"]
        if event == "begin":
            self._begin(self._carry(message))
        elif event == "verdict":
            if (ballot := self._ballots.get(message["change"])) is not None:
                ballot.take(message)
        elif event == "finished":
            if (finished := self._finished.get(message["proposal"])) is not None:
                finished.set()
        elif event == "stop":
            self._stop()
        elif event == "collect":
            self.tell({"event": "page", "page": self._page()})
        elif event == "merged":
            found = self._scrapes.get(message["scrape"])
            if found is not None and not found.done():
                found.set_result(message["page"])
        elif self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    async def _carry(self, message: Mapping[str, Any]) -> None:
        """Carry out a change, and report its result to the supervisor."""
        assert self._carry_out is not None, "it was started. This is a bug."
        number, model = message["change"], message["model"]
        ballot = Ballot(number, message["leads"], self.tell)
        self._ballots[number] = ballot
        if not message["leads"]:
            self.following.add(model)
        result = self._results.get(message["proposal"] or 0)
        done = True
        try:
            found = await self._carry_out(
                Change(model, message["verb"], message["arguments"]), ballot
            )
            if result is not None and not result.done():
                result.set_result(found)
        except BaseException as error:
            done = False
            if result is not None and not result.done():
                failure = error if isinstance(error, Exception) else ShuttingDown(str(error))
                result.set_exception(failure)
            if not isinstance(error, Exception):
                raise
        finally:
            self.following.discard(model)
            del self._ballots[number]
            assert self._standing is not None, "it was started. This is a bug."
            standing = {model: self._standing().get(model)} if model else {}
            self.tell({"event": "end", "change": number, "done": done, "standing": standing})

    async def _asked(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        self._answer = asyncio.get_running_loop().create_future()
        self.tell(message)
        return await self._answer

    async def _beat(self) -> None:
        while True:
            self.seat.board.beat(self.seat.worker, monotonic())
            await asyncio.sleep(BEAT_SECONDS)

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
