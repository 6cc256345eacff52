"""The work in progress, noted in a table in shared memory that outlives the process.

A native crash leaves no trace in Python, so each piece of work is noted before it begins. The
supervisor reads the table when the process has died. This module uses the standard library only,
because the supervisor imports it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple, Protocol

SLOT_BYTES = 256
SLOTS = 1024
SIZE = SLOT_BYTES * SLOTS
"""Bytes of the table."""
NAME_AT = 2


class Work(NamedTuple):
    """A version of a model."""

    model: str
    version: int


class Table(Protocol):
    """Bytes that can be set one by one, as in a ``bytearray`` or an ``mmap``."""

    def __setitem__(self, place: int, byte: int, /) -> None:
        """Set one byte."""


class Mark:
    """A byte of the table: 1 while a thread is at work. Each belongs to one thread at a time."""

    __slots__ = ("_at", "_table")

    def __init__(self, table: Table, at: int) -> None:
        self._table = table
        self._at = at

    def begin(self) -> None:
        """Record that work begins."""
        self._table[self._at] = 1

    def end(self) -> None:
        """Record that work has ended."""
        self._table[self._at] = 0


UNNOTED = Mark(bytearray(1), 0)
"""A mark for work that is not noted."""


class Ledger:
    """The table. A slot holds a flag, the length of a name, and the name as "version model"."""

    def __init__(self, table: Table | None = None) -> None:
        """Use a buffer of ``SIZE`` bytes; None for a private one that ends with the process."""
        self._table: Table = bytearray(SIZE) if table is None else table
        self._lock = Lock()
        self._free = list(range(0, SIZE, SLOT_BYTES))[::-1]
        self._slots: dict[Mark, int] = {}

    def mark(self, work: Work) -> Mark:
        """Reserve a mark to note this work with, until ``release``. ``UNNOTED`` if none is free."""
        text = f"{work.version} {work.model}".encode()[: SLOT_BYTES - NAME_AT]
        with self._lock:
            if not self._free:
                return UNNOTED
            at = self._free.pop()
            self._table[at] = 0
            self._table[at + 1] = len(text)
            for place, byte in enumerate(text, at + NAME_AT):
                self._table[place] = byte
            mark = Mark(self._table, at)
            self._slots[mark] = at
            return mark

    def release(self, mark: Mark) -> None:
        """Release a mark."""
        with self._lock:
            at = self._slots.pop(mark, None)
            if at is not None:
                self._table[at] = 0
                self._free.append(at)

    @contextmanager
    def at_work(self, work: Work) -> Iterator[None]:
        """Record a piece of work that is no request, such as loading."""
        mark = self.mark(work)
        mark.begin()
        try:
            yield
        finally:
            self.release(mark)


def read_work(table: bytes) -> tuple[Work, ...]:
    """Return the versions that are at work according to a table, each once, sorted."""
    found = set()
    for at in range(0, len(table) - SLOT_BYTES + 1, SLOT_BYTES):
        if table[at]:
            text = table[at + NAME_AT : at + NAME_AT + table[at + 1]].decode(errors="replace")
            version, _, model = text.partition(" ")
            found.add(Work(model, int(version) if version.isdecimal() else 0))
    return tuple(sorted(found))
