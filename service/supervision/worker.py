"""The supervisor's view of one worker: its process, its channel, its ledger."""

import json
import mmap
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from service.core.ledger import SIZE, Work, read_work
from service.supervision.lines import Lines, Message, encoded
from service.supervision.process import VARIABLE, shared_memory


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
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self._lines = Lines()
        self._unsent = bytearray()
        self.was_ready = False
        self.told_to_end = False
        self.cause = ""
        self.early = 0
        self.again_at = 0.0

    def start(
        self, command: Sequence[str], told: Mapping[str, Any], passed: Sequence[int]
    ) -> socket.socket:
        """Start a process. Return the supervisor's end of its channel."""
        self._clear()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        told = {
            **told,
            "channel": theirs.fileno(),
            "table": self.ledger,
            "listener": None,
            "parent": os.getpid(),
        }
        before = os.sched_getaffinity(0) if self._cores else set()
        if self._cores:  # the process and all its threads inherit the affinity
            os.sched_setaffinity(0, self._cores)
        try:
            # A separate process group: Ctrl-C reaches only the supervisor, which passes it on once.
            self.process = subprocess.Popen(
                command,
                env={**os.environ, VARIABLE: json.dumps(told)},
                pass_fds=[theirs.fileno(), self.ledger, *passed],
                process_group=0,
            )
        finally:
            if self._cores:
                os.sched_setaffinity(0, before)
        theirs.close()
        self.channel = ours
        return ours

    def take_over(self, spare: "Worker", told: Mapping[str, Any]) -> None:
        """Let a spare process fill this worker's place."""
        self._clear()
        self.process, self.channel = spare.process, spare.channel
        spare.process = spare.channel = None
        self.tell({**told, "table": self.ledger, "affinity": list(self._cores)})

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
