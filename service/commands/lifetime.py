"""The shutdown of the serving process, from the first signal to the exit code.

On a signal the server becomes not ready. After the drain delay it closes the port, completes
admitted requests and exits; a timer ends the process if anything hangs. Exit code 0: all admitted
requests were completed. 1: some were answered with an error.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

import uvicorn

from service.api.http1.driver import HTTPProtocol
from service.app import Server
from service.config.settings import Settings
from service.supervision.process import stop_signals

READ_SECONDS = 0.1
"""Time to read requests that were sent before the port was closed."""
WRITE_SECONDS = 0.05
"""Time to send the last answers."""
MARGIN_SECONDS = 3.0
"""Time after the shutdown timeout until a thread ends the process."""
AT_ONCE_SECONDS = 1.0

_log = logging.getLogger("quantserve")


PAUSE_SECONDS = 0.1
"""The time that uvicorn sleeps before it waits for requests."""


def drain_seconds(patience: float) -> float:
    """Return uvicorn's timeout for requests, in seconds, such that ``patience`` counts from the
    time when the port is closed."""
    return max(0.05, patience - READ_SECONDS - PAUSE_SECONDS)


class Ends(NamedTuple):
    """Callbacks: one for when the port is closed, one for before the process exits."""

    at_close: Callable[[], None]
    at_exit: Callable[[], None]


class Lifetime(uvicorn.Server):
    """A uvicorn server that shuts down in this order."""

    def __init__(
        self,
        config: uvicorn.Config,
        server: Server,
        settings: Settings,
        ends: Ends,
    ) -> None:
        super().__init__(config)
        self._ends = ends
        self._server = server
        self._drain_delay = settings.drain_delay
        self._patience = settings.shutdown_timeout

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and accept connections that other workers hand over."""
        await super().startup(sockets)
        if self._server.handover and not self.should_exit:
            self._server.handover.open(self)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle stop signals."""
        # Unlike uvicorn, do not raise the signals again at the end: exit codes have a meaning.
        before = {s: signal.signal(s, self.handle_exit) for s in stop_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down gracefully on the first signal, immediately on the second."""
        if self.should_exit:
            self.force_exit = True
            _end_within(AT_ONCE_SECONDS)
        else:
            self.should_exit = True
            _end_within(self._drain_delay + self._patience + MARGIN_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, complete requests, and end the process.

        At the timeout, remaining runs are terminated. Threads that do not return are not awaited.
        """
        _log.info("stopping: not ready; serving for another %g s", self._drain_delay)
        self._server.begin_stop()
        await self._pause(self._drain_delay)
        if self._server.handover:
            self._server.handover.close()
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        self._server.close_grpc(drain_seconds(self._patience))
        self._ends.at_close()
        await self._pause(READ_SECONDS)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if isinstance(connection, HTTPProtocol):
                connection.stop()
        await asyncio.sleep(WRITE_SECONDS)
        self._ends.at_exit()
        if self._server.unanswered:
            _log.error("stopped: %d requests have no answer", self._server.unanswered)
        else:
            _log.info("stopped: all admitted requests were answered")
        _end(1 if self._server.unanswered else 0)

    async def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until and not self.force_exit:
            await asyncio.sleep(min(0.1, until - loop.time()))
            await self.on_tick(0)  # updates the header `date`


def _end_within(seconds: float) -> None:
    def end() -> None:
        _log.error("stopped: the shutdown did not complete in time")
        _end(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _end(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
