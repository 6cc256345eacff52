"""The end of the serving process: from the first signal to the exit code.

Not ready at once; after the drain delay the port is closed; what was admitted is answered; then the
process ends, within a bound whatever hangs. Exit code 0: every request that was admitted has its
answer. 1: some were told that there will be none.
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
from service.config import Settings
from service.supervision.process import stop_signals

READ_SECONDS = 0.1
"""For the event loop to read what had been sent before the port was closed."""
WRITE_SECONDS = 0.05
"""For the last answers to leave."""
MARGIN_SECONDS = 3.0
"""After which the process is ended from outside the event loop."""
AT_ONCE_SECONDS = 1.0

_log = logging.getLogger("quantserve")


PAUSE_SECONDS = 0.1
"""That uvicorn takes before it waits for requests."""


def drain_seconds(patience: float) -> float:
    """Seconds for uvicorn to wait for requests, so that the time counts from the closing of the
    port."""
    return max(0.05, patience - READ_SECONDS - PAUSE_SECONDS)


class Ends(NamedTuple):
    """What is called when the port is closed, and before the process ends."""

    at_close: Callable[[], None]
    at_exit: Callable[[], None]


class Lifetime(uvicorn.Server):
    """uvicorn, ended in this order."""

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
        """Listen, and take connections that other workers hand over."""
        await super().startup(sockets)
        if self._server.handover and not self.should_exit:
            self._server.handover.open(self)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal; uvicorn would raise it again in the end."""
        before = {s: signal.signal(s, self.handle_exit) for s in stop_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order on the first signal, at once on the second."""
        if self.should_exit:
            self.force_exit = True
            _end_within(AT_ONCE_SECONDS)
        else:
            self.should_exit = True
            _end_within(self._drain_delay + self._patience + MARGIN_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, answer, and end the process.

        Runs that are left when the time is over are ended. It does not wait for threads that do
        not return.
        """
        _log.info("stopping: not ready; serving for %g s more", self._drain_delay)
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
            _log.info("stopped: every request that was admitted is answered")
        _end(1 if self._server.unanswered else 0)

    async def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until and not self.force_exit:
            await asyncio.sleep(min(0.1, until - loop.time()))
            await self.on_tick(0)  # which sets the header `date`


def _end_within(seconds: float) -> None:
    def end() -> None:
        _log.error("stopped: something did not end in time")
        _end(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _end(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
