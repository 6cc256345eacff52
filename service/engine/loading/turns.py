"""When versions are loaded: one after the other where that costs little, side by side where one
takes long. A load measures, and measures best alone; but none may keep the others waiting.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.core.errors import TooManyLoads

STAGGER_SECONDS = 5.0
"""After which the next version is begun with. Most are loaded in less."""
AFTER_CRASH_STAGGER = 60.0
"""The same where a version crashed an earlier server: of two at work, none could be blamed."""
MOST_LOADS = 16
"""Versions that are loaded at a time because somebody asked for it."""


class Turns:
    """Made on any thread, used on one event loop."""

    def __init__(self, stagger: float = STAGGER_SECONDS, most: int = MOST_LOADS) -> None:
        self._stagger = stagger
        self._most = most
        self._next = asyncio.Lock()
        self.loading = 0
        """Versions that are being loaded."""
        self._quiet: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def one(self, waits: bool) -> AsyncIterator[None]:
        """Load a version in here. Who ``waits`` begins once the one before has ended, or has taken
        its time; others begin at once.

        Raises:
            TooManyLoads: as many as may be are being loaded, and this one does not wait.
        """
        if waits:
            await self._next.acquire()
            turn = _Turn(self._next, self._stagger)
        elif self.loading >= self._most:
            raise TooManyLoads(
                f"{self.loading} versions are being loaded, which is the most at a time;"
                " try again when one of them has ended"
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
        """Let the next one begin, unless it has already."""
        self._timer.cancel()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
