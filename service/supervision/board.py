"""Shared memory of a supervisor and its workers: for each a heartbeat, its number of connections,
and whether it runs a model.

Each field has one writer, so no lock is needed. Times are from the monotonic clock, which all
processes of a machine share.
"""

import struct
from typing import Protocol

HEAD = 64
SLOT = 64
"""Bytes of a worker's entry: a cache line, since workers write concurrently."""
BEAT, CONNECTIONS, OPEN, BUSY = 0, 8, 12, 13
READY, STOPPING = 0, 1


class Memory(Protocol):
    """A ``bytearray`` or an ``mmap``, for ``struct``."""

    def __setitem__(self, place: int, byte: int, /) -> None:
        """Set one byte."""

    def __getitem__(self, place: int, /) -> int:
        """Return one byte."""


def size(workers: int) -> int:
    """Return the size of the board for a number of workers, in bytes."""
    return HEAD + SLOT * workers


class Board:
    """Access to the memory, which is initially all zeros.

    The first ``shared`` of the ``workers`` share the port. The others are dedicated to one model.
    """

    def __init__(self, memory: Memory, workers: int, shared: int | None = None) -> None:
        self._memory = memory
        self.workers = workers
        self.shared = workers if shared is None else shared

    @property
    def ready(self) -> bool:
        """True once the required number of workers have been ready."""
        return self._memory[READY] != 0

    def set_ready(self) -> None:
        """Record that they have been ready."""
        self._memory[READY] = 1

    @property
    def stopping(self) -> bool:
        """True if all workers were told to stop."""
        return self._memory[STOPPING] != 0

    def set_stopping(self) -> None:
        """Record that all workers were told to stop."""
        self._memory[STOPPING] = 1

    def clear(self, worker: int) -> None:
        """Clear the entry of a worker that has ended."""
        place = self._place(worker)
        for at in range(place, place + SLOT):
            self._memory[at] = 0

    def beat(self, worker: int, now: float) -> None:
        """Record the heartbeat of a worker's event loop."""
        struct.pack_into("=d", self._memory, self._place(worker) + BEAT, now)  # type: ignore[arg-type]

    def last_beat(self, worker: int) -> float:
        """Return the time of a worker's last heartbeat; 0 before the first."""
        found: float = struct.unpack_from("=d", self._memory, self._place(worker) + BEAT)[0]  # type: ignore[arg-type]
        return found

    def set_connections(self, worker: int, count: int) -> None:
        """Record a worker's number of connections, and that it accepts more."""
        place = self._place(worker)
        struct.pack_into("=I", self._memory, place + CONNECTIONS, count)  # type: ignore[arg-type]
        self._memory[place + OPEN] = 1

    def close(self, worker: int) -> None:
        """Record that a worker accepts no more connections."""
        self._memory[self._place(worker) + OPEN] = 0

    def connections(self, worker: int) -> int | None:
        """Return a worker's number of connections; None if it accepts none."""
        place = self._place(worker)
        if not self._memory[place + OPEN]:
            return None
        found: int = struct.unpack_from("=I", self._memory, place + CONNECTIONS)[0]  # type: ignore[arg-type]
        return found

    def set_busy(self, worker: int, *, busy: bool) -> None:
        """Record whether a worker runs a model in a thread."""
        self._memory[self._place(worker) + BUSY] = busy

    def others_idle(self, worker: int) -> bool:
        """Return True if no other worker runs a model in a thread."""
        return not any(
            self._memory[self._place(other) + BUSY]
            for other in range(self.workers)
            if other != worker
        )

    def emptiest(self, worker: int, own: int) -> int:
        """Return the worker that should serve a connection that arrived at ``worker``, of those
        that share the port. ``own`` is the number of connections of ``worker``, including this one.

        The connection stays unless another worker has clearly fewer, because moving it costs time.
        """
        best, least = worker, own - 1 - own // 8
        for other in range(self.shared):
            count = None if other == worker else self.connections(other)
            if count is not None and count < least:
                best, least = other, count
        return best

    @staticmethod
    def _place(worker: int) -> int:
        return HEAD + SLOT * worker
