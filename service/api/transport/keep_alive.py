"""When an idle connection is closed."""

import asyncio
from collections.abc import Callable


class KeepAlive:
    """Calls ``close`` when a connection has been idle for so many seconds.

    One timer, which looks again when it is due: to set and cancel one for each request, as uvicorn
    does, takes a fortieth of the time of a small request.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, close: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._close = close
        # All mutable state: since when the connection is idle, None while it is not; the timer.
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The connection is idle from now on."""
        self._since = self._loop.time()
        if self._timer is None:
            self._look_in(self._seconds)

    def end(self) -> None:
        """Something came."""
        self._since = None

    def cancel(self) -> None:
        """The connection is gone."""
        self._close = _nothing  # what holds each other lives until a garbage collection
        self._since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._since is None:
            return
        left = self._since + self._seconds - self._loop.time()
        if left > 0:
            self._look_in(left)
        else:
            self._close()


def _nothing() -> None:
    """What is called of a connection that is gone."""
