"""The memory of requests and answers in flight, shared by all connections.

Bodies and answers of less than ``LARGE`` bytes that are there at once take no part. Where there is
no room, answers that nobody takes go first; then who asks for more is refused.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple, Protocol

from service.api.protocol.answer_limit import Size
from service.api.transport.body import Grown
from service.core.body_cost import LARGE, announced, decoded, least, may_hold_strings, weigh
from service.core.body_cost import STRINGS_FACTOR as STRINGS
from service.core.errors import BodyTooLarge, MemoryFull, ResponseTooLarge
from service.core.memory_budget import Budget, Reservation
from service.core.requests import InferRequest

_log = logging.getLogger(__name__)
GRACE_SECONDS = 1.0
"""For which a client may read nothing of its answer before the answer may be dropped."""
ANSWER_FACTOR = 3
"""An answer while it is built, in bytes for each of its own: text that grows, and a copy with its
head."""
SPARE = 4
"""Small bodies may take this part of the share when large ones have filled it."""
MARGIN = 64 * 2**20
"""Bytes of address space that stay free where it is limited: for threads, and for what is small.
Parsers crash where there is none (orjson does)."""


class Slow(Protocol):
    """A connection that holds an answer which its client does not take."""

    def silent_since(self) -> float:
        """The time of ``perf_counter`` at which the client last took something."""

    def drop(self) -> None:
        """Cut the connection, and the answer with it."""


class Holder(Protocol):
    """A request and the bytes that are reserved for it; none as long as it is small. ``weight`` is
    what the first ``weighed`` bytes of its body need."""

    held: Reservation | None
    weight: int
    weighed: int


class _Held:
    held: Reservation | None = None
    weight = weighed = 0


class Counts(NamedTuple):
    """Bytes in flight and their limit; requests that were refused and answers that were dropped."""

    held: int
    limit: int
    refused: int
    dropped: int


class Traffic:
    """Reserves memory for requests before they come and for answers before they are built.

    ``address_space`` gives the bytes of it that are left, None where it has no limit.
    """

    def __init__(self, limit: int, address_space: Callable[[], int | None] = lambda: None) -> None:
        self._budget = Budget(limit)
        self._address_space = address_space
        # All mutable state beside the budget: the answers that wait for their readers.
        self._slow: dict[Slow, Reservation] = {}
        self._refused = self._dropped = 0

    def counts(self) -> Counts:
        """What metrics tell."""
        return Counts(self._budget.held, self._budget.limit, self._refused, self._dropped)

    def expect(self, holder: Holder, length: int, raw: bool) -> None:
        """Reserve memory for a body of ``length`` bytes, compressed or not, that begins to come.

        Raises:
            BodyTooLarge: whatever is in it, it never fits.
            MemoryFull: it does not fit now.
        """
        limit = self._budget.limit
        if least(length, raw) > limit:
            raise BodyTooLarge(
                f"a body of {length} bytes needs at least {least(length, raw)} bytes of memory, at"
                f" most {limit} are for requests (--memory-budget)"
            )
        if length > LARGE:
            self._reserve(holder, min(announced(length, raw), limit))
        else:
            self._reserve(holder, length, limit // SPARE)

    def grow(self, holder: Holder, body: bytes | bytearray, raw: bool) -> None:
        """Reserve memory for the part of the body that has come. Measures it every ``LARGE`` bytes,
        for parts of any size.

        Raises:
            MemoryFull, BodyTooLarge: as above.
        """
        if len(body) - holder.weighed >= LARGE:
            holder.weight += weigh(body[holder.weighed :], raw)
            holder.weighed = len(body)
            self._grow_to(holder, holder.weight)

    def came(self, holder: Holder, body: bytes | bytearray, header_length: int) -> None:
        """All of a binary body is there; strings in it become objects.

        Raises:
            MemoryFull, BodyTooLarge: as above.
        """
        if may_hold_strings(memoryview(body)[:header_length]):
            self._grow_to(holder, STRINGS * len(body))

    def expand(self, holder: Holder, size: int) -> None:
        """Reserve memory for data beside the body: decoded images, tensors in shared memory.

        Raises:
            MemoryFull, BodyTooLarge: as above.
        """
        self._grow_to(holder, size + (holder.held.size if holder.held else 0))

    def read(self, holder: Holder, request: InferRequest) -> None:
        """Reduce the reservation to the decoded arrays: the body is released."""
        held = holder.held
        if held is not None:
            held.resize(min(held.size, decoded(request, held.size)))

    def build(self, holder: Holder, size: Size) -> None:
        """Reserve memory for an answer of this size.

        Raises:
            ResponseTooLarge: it never fits.
            MemoryFull: it does not fit now.
        """
        if size.answer <= LARGE:
            return
        needed = ANSWER_FACTOR * size.answer + size.building
        needed += holder.held.size if holder.held else 0
        if needed > self._budget.limit:
            raise ResponseTooLarge(
                f"an answer of {size.answer} bytes needs {needed} bytes of memory with its request,"
                f" at most {self._budget.limit} are for requests (--memory-budget)"
            )
        self._reserve(holder, needed)

    def outputs(self, size: int) -> Reservation | None:
        """Reserve memory for outputs that are put together from several runs; None for small ones.

        Raises:
            ResponseTooLarge: they never fit.
            MemoryFull: they do not fit now.
        """
        if size <= LARGE:
            return None
        if size > self._budget.limit:
            raise ResponseTooLarge(
                f"the outputs of all rows need {size} bytes of memory, at most"
                f" {self._budget.limit} are for requests (--memory-budget): send fewer rows"
            )
        holder = _Held()
        self._reserve(holder, size)
        return holder.held

    def release(self, holder: Holder) -> None:
        """The request has ended."""
        if holder.held is not None:
            holder.held.release()
            holder.held = None

    @contextmanager
    def body(self, headers: Mapping[bytes, bytes], limit: int) -> Iterator[Grown]:
        """Memory for a body of the control plane as long as the context lasts; gives what is to be
        told of its parts.

        Raises:
            MemoryFull, BodyTooLarge: as above.
        """
        holder = _Held()
        length = headers.get(b"content-length", b"0")
        try:
            if length.isdigit() and LARGE < int(length) <= limit:
                self.expect(holder, int(length), raw=True)
            yield lambda body: self.grow(holder, body, raw=True)
        finally:
            self.release(holder)

    def keep(self, slow: Slow, size: int) -> None:
        """So many bytes of answers wait on a connection for its client."""
        if slow not in self._slow:
            self._slow[slow] = Reservation(self._budget)
        self._slow[slow].force(size)

    def forget(self, slow: Slow) -> None:
        """The client has taken the bytes, or has disconnected."""
        held = self._slow.pop(slow, None)
        if held is not None:
            held.release()

    def _grow_to(self, holder: Holder, size: int) -> None:
        held = holder.held.size if holder.held else 0
        if size <= max(held, LARGE):
            return
        if size > self._budget.limit:
            raise BodyTooLarge(
                f"the body needs {size} bytes of memory or more when it is read, at most"
                f" {self._budget.limit} are for requests (--memory-budget)"
            )
        self._reserve(holder, size)

    def _reserve(self, holder: Holder, size: int, beyond: int = 0) -> None:
        held = holder.held or Reservation(self._budget)
        more = size - held.size
        if not self._make_room(more, beyond) or not held.resize(size, beyond):
            self._refused += 1
            raise MemoryFull(
                f"requests and answers in flight hold {self._budget.held} bytes, this one needs"
                f" {more} more and {self._budget.limit} are for all (--memory-budget): try again"
            )
        holder.held = held

    def _make_room(self, size: int, beyond: int) -> bool:
        """Whether there is room, after answers that their clients do not read were dropped."""
        while not self._fits(size, beyond):
            slowest = min(self._slow, key=lambda slow: slow.silent_since(), default=None)
            if slowest is None or perf_counter() - slowest.silent_since() < GRACE_SECONDS:
                return False
            size_of = self._slow[slowest].size
            self.forget(slowest)
            slowest.drop()
            self._dropped += 1
            _log.warning("dropped an answer that its client did not take: %d bytes left", size_of)
        return True

    def _fits(self, size: int, beyond: int) -> bool:
        if not self._budget.has_room(size, beyond):
            return False
        left = self._address_space()
        # What is held may be allocated or not: it counts as if it were not.
        return left is None or left >= self._budget.held + size + MARGIN
