"""Schedules loads: one after the other, unless a load takes long. A load measures speed, which is
most accurate without other loads, but a slow load must not delay the others.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.core.errors import TooManyLoads

STAGGER_SECONDS = 5.0
"""Seconds after which the next load begins at the latest. Most loads are shorter."""
AFTER_CRASH_STAGGER = 60.0
"""The same after a crash: if two loads run at once, neither can be blamed for the next one."""
MOST_LOADS = 16
"""The limit of concurrent loads for a load that a client requests."""


class Turns:
    """The loads in progress. Created on any thread, used on one event loop."""

    def __init__(self, stagger: float = STAGGER_SECONDS, most: int = MOST_LOADS) -> None:
        self._stagger = stagger
        self._most = most
        self._next = asyncio.Lock()
        self.loading = 0
        """Versions that are being loaded."""
        self._quiet: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def one(self, waits: bool) -> AsyncIterator[None]:
        """Enter the context for one load. With ``waits`` it begins when the load before has ended
        or has taken ``stagger`` seconds; otherwise at once.

        Raises:
            TooManyLoads: the limit of concurrent loads is reached, and ``waits`` is False.
        """
        if waits:
            await self._next.acquire()
            turn = _Turn(self._next, self._stagger)
        elif self.loading >= self._most:
            raise TooManyLoads(
                f"{self.loading} versions are being loaded, the most at a time;"
                " try again when a load has ended"
            )
        self.loading += 1
        try:
            yield
        finally:
            self.loading -= 1
            if waits:
                turn.end()
            if not self.loading and self._quiet is not None:
                self._quiet.set_result(None)
                self._quiet = None

    async def quiet(self) -> None:
        """Wait until no version is being loaded."""
        if self.loading:
            if self._quiet is None:
                self._quiet = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._quiet)


class _Turn:
    """Holds a lock until it ends, or for so many seconds."""

    def __init__(self, lock: asyncio.Lock, seconds: float) -> None:
        self._lock: asyncio.Lock | None = lock
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def end(self) -> None:
        """Let the next load begin, unless it has begun."""
        self._timer.cancel()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
