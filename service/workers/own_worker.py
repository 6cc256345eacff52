"""A dedicated worker, as another worker sees it.

It does not listen on the port. The other workers forward requests for its model to it, over
socket pairs of which they give it one end.
"""

import asyncio
import socket
from time import monotonic

from service.api.dataplane.asgi import Scope, Send
from service.api.transport.body import ClientGone, Receive
from service.core.errors import NotReady
from service.supervised import Seat
from service.workers.line import PIECE, Line, Lost

IDLE_SECONDS = 2.0
"""Seconds after which an idle connection is not used again: the worker is about to close it."""
BUSY_SECONDS = 5.0
"""Seconds that a request waits until the worker takes a connection."""
RETRY_SECONDS = 0.01
MOST_IDLE = 64
"""The maximum number of idle connections to keep."""


class OwnWorker:
    """Forwards requests to the dedicated worker ``number``, which serves ``model``."""

    def __init__(self, seat: Seat, number: int, model: str) -> None:
        self._seat = seat
        self._number = number
        self.model = model
        self._idle: list[Line] = []

    @property
    def running(self) -> bool:
        """True if the worker accepts requests."""
        return self._seat.board.connections(self._number) is not None

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, unless the client disconnects first.

        Raises:
            NotReady: the worker is not running, or it ended before it had begun to answer.
            MalformedRequest: the request cannot be forwarded.
            Lost: the worker ended in the middle of the answer.
        """
        line = await self._line()
        asking = asyncio.ensure_future(line.ask(scope, receive))
        answering = asyncio.ensure_future(line.answer(send))
        done = False
        try:
            await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and isinstance(asking.exception(), Lost):
                await asyncio.wait({answering})  # the worker may have answered early
            if answering.done():
                answering.result()
                done = True
            elif not isinstance(asking.exception(), ClientGone):
                asking.result()
        except Lost:
            if line.answered:
                raise
            raise self._not_ready("it ended before there was an answer") from None
        finally:
            asking.cancel()
            answering.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            self._put_back(line, done)

    async def _line(self) -> Line:
        while self._idle:
            line = self._idle.pop()
            if line.usable(IDLE_SECONDS):
                return line
            line.close()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise self._not_ready(f"it cannot be reached: {error.strerror}") from None
        with theirs:
            try:
                await self._give(theirs)
            except BaseException:
                ours.close()
                raise
        return Line(*await asyncio.open_unix_connection(sock=ours, limit=PIECE))

    async def _give(self, connection: socket.socket) -> None:
        """Send the worker its end of a connection, once it has read enough of the earlier ones."""
        outbox, until = self._seat.outboxes[self._number], monotonic() + BUSY_SECONDS
        while self.running:
            try:
                socket.send_fds(outbox, [b"."], [connection.fileno()])
                return
            except OSError:
                if monotonic() > until:
                    raise self._not_ready("it is busy") from None
            await asyncio.sleep(RETRY_SECONDS)
        raise self._not_ready("it is starting")

    def _put_back(self, line: Line, done: bool) -> None:
        if done and len(self._idle) < MOST_IDLE and line.renew():
            self._idle.append(line)
        else:
            line.close()

    def _not_ready(self, why: str) -> NotReady:
        return NotReady(f'model "{self.model}" has a worker of its own, and {why}: try again')
