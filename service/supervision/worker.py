"""The supervisor's view of one worker: its process, its channel, its ledger."""

import mmap
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from service.core.ledger import SIZE, Work, read_work
from service.supervision.lines import Lines, Message, encoded
from service.supervision.process import Process, shared_memory, started
from service.supervision.template import Template


class Worker:
    """A worker's place in the fleet, filled by one process at a time; ``number`` counts from 0."""

    def __init__(self, number: int, cores: Sequence[int]) -> None:
        """``cores``: the cores to bind the process to; empty for any."""
        self.number = number
        self._cores = cores
        self.ledger = shared_memory(SIZE)
        self._table = mmap.mmap(self.ledger, SIZE)
        # All mutable state: the process and its channel, the unsent bytes, whether it was ready
        # once, whether it was told to end, the cause for which it is ended, and its early crashes.
        self.process: Process | None = None
        self.channel: socket.socket | None = None
        self._lines = Lines()
        self._unsent = bytearray()
        self.was_ready = False
        self.told_to_end = False
        self.cause = ""
        self.early = 0
        self.again_at = 0.0

    def start(
        self,
        template: Template,
        command: Sequence[str],
        told: Mapping[str, Any],
        passed: Sequence[int],
    ) -> socket.socket:
        """Start a process: fork it from the template, or run the command if that is not possible.
        Return the supervisor's end of its channel."""
        self._clear()
        told = {**told, "table": self.ledger}
        forked = template.fork({**told, "affinity": list(self._cores)})
        self.process, self.channel = forked or self._run(command, told, passed)
        return self.channel

    def _run(
        self, command: Sequence[str], told: Mapping[str, Any], passed: Sequence[int]
    ) -> tuple[Process, socket.socket]:
        if not self._cores:
            return started(command, told, [self.ledger, *passed])
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._cores)  # the process and all its threads inherit it
        try:
            return started(command, told, [self.ledger, *passed])
        finally:
            os.sched_setaffinity(0, before)

    def _clear(self) -> None:
        self._table[:] = bytes(SIZE)
        self._lines, self._unsent = Lines(), bytearray()
        self.was_ready, self.told_to_end, self.cause = False, False, ""

    @property
    def at_work(self) -> tuple[Work, ...]:
        """The versions that the process was running or loading when it ended."""
        return read_work(self._table[:])

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def end_for(self, cause: str) -> None:
        """Kill the process, and record the cause instead of the signal."""
        self.cause = cause
        self.signal(signal.SIGKILL)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message as far as the channel accepts it now; ``flush`` sends the rest."""
        self._unsent += encoded(message)
        self.flush()

    def flush(self) -> None:
        """Send the bytes that were not accepted yet."""
        while self.channel is not None and self._unsent:
            try:
                sent = self.channel.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:  # the process has ended; reading the channel reports it
                self._unsent.clear()
                return
            del self._unsent[:sent]

    @property
    def behind(self) -> bool:
        """True if some bytes are not sent yet."""
        return bool(self._unsent)

    def hear(self) -> Iterator[Message]:
        """Yield the received messages. Afterwards the channel is None if it was closed."""
        while self.channel is not None:
            try:
                data = self.channel.recv(2**20)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                with suppress(OSError):
                    self.channel.close()
                self.channel = None
                return
            yield from self._lines.feed(data)

    @property
    def process_id(self) -> int:
        """The process id; 0 without a process."""
        return self.process.pid if self.process is not None else 0

    def resident_bytes(self) -> int:
        """Return its resident memory in bytes; 0 if the system does not report it."""
        return resident_bytes(self.process_id) if self.process is not None else 0


def resident_bytes(process: int) -> int:
    """Return the resident memory of a process in bytes; 0 if the system does not report it."""
    try:
        with open(f"/proc/{process}/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
