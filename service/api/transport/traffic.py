"""The memory of requests and answers in flight, shared by all connections.

Bodies and answers of at most ``LARGE`` bytes that arrive at once are not counted. If there is no
room, answers that their clients do not read are dropped first. Then the new request is refused.
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
"""Seconds that a client may read nothing of its answer before the answer may be dropped."""
ANSWER_FACTOR = 3
"""Bytes of memory for each byte of an answer while it is built: text that grows, and a copy with
its head."""
SPARE = 4
"""When large bodies have filled the budget, small bodies may use a further 1/4 of it."""
MARGIN = 64 * 2**20
"""Bytes of address space that stay free if it is limited: for threads and small allocations.
Parsers such as orjson crash if none is left."""


class Slow(Protocol):
    """A connection that holds an answer which its client does not read."""

    def silent_since(self) -> float:
        """Return the time of ``perf_counter`` at which the client last read from the connection."""

    def drop(self) -> None:
        """Close the connection and discard the answer."""


class Holder(Protocol):
    """A request and the bytes that are reserved for it; None while it is small. ``weight`` is the
    memory that the first ``weighed`` bytes of its body need."""

    held: Reservation | None
    weight: int
    weighed: int


class _Held:
    held: Reservation | None = None
    weight = weighed = 0


class Counts(NamedTuple):
    """Bytes in flight and their limit; the numbers of refused requests and of dropped answers."""

    held: int
    limit: int
    refused: int
    dropped: int


class Traffic:
    """Reserves memory for requests before they arrive and for answers before they are built.

    ``address_space`` returns the bytes of address space that are left; None if it has no limit.
    """

    def __init__(self, limit: int, address_space: Callable[[], int | None] = lambda: None) -> None:
        self._budget = Budget(limit)
        self._address_space = address_space
        # All mutable state besides the budget: answers that their clients do not read; counts.
        self._slow: dict[Slow, Reservation] = {}
        self._refused = self._dropped = 0

    def counts(self) -> Counts:
        """Return the counts for metrics."""
        return Counts(self._budget.held, self._budget.limit, self._refused, self._dropped)

    def expect(self, holder: Holder, length: int, raw: bool) -> None:
        """Reserve memory for a body of ``length`` bytes, compressed or not, that begins to arrive.

        Raises:
            BodyTooLarge: the body never fits, whatever its contents.
            MemoryFull: the body does not fit now.
        """
        limit = self._budget.limit
        if least(length, raw) > limit:
            raise BodyTooLarge(
                f"a body of {length} bytes needs at least {least(length, raw)} bytes of memory, at"
                f" most {limit} are available for requests (--memory-budget)"
            )
        if length > LARGE:
            self._reserve(holder, min(announced(length, raw), limit))
        else:
            self._reserve(holder, length, limit // SPARE)

    def grow(self, holder: Holder, body: bytes | bytearray, raw: bool) -> None:
        """Reserve memory for the part of the body that has arrived. The part is measured every
        ``LARGE`` bytes, whatever the size of the pieces.

        Raises:
            MemoryFull, BodyTooLarge: see ``expect``.
        """
        if len(body) - holder.weighed >= LARGE:
            holder.weight += weigh(body[holder.weighed :], raw)
            holder.weighed = len(body)
            self._grow_to(holder, holder.weight)

    def came(self, holder: Holder, body: bytes | bytearray, header_length: int) -> None:
        """Reserve memory for a complete binary body that may have strings, which become objects.

        Raises:
            MemoryFull, BodyTooLarge: see ``expect``.
        """
        if may_hold_strings(memoryview(body)[:header_length]):
            self._grow_to(holder, STRINGS * len(body))

    def expand(self, holder: Holder, size: int) -> None:
        """Reserve memory for data besides the body: decoded images, tensors in shared memory.

        Raises:
            MemoryFull, BodyTooLarge: see ``expect``.
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
            ResponseTooLarge: the answer never fits.
            MemoryFull: the answer does not fit now.
        """
        if size.answer <= LARGE:
            return
        needed = ANSWER_FACTOR * size.answer + size.building
        needed += holder.held.size if holder.held else 0
        if needed > self._budget.limit:
            raise ResponseTooLarge(
                f"an answer of {size.answer} bytes needs {needed} bytes of memory with its request,"
                f" at most {self._budget.limit} are available for requests (--memory-budget)"
            )
        self._reserve(holder, needed)

    def outputs(self, size: int) -> Reservation | None:
        """Reserve memory for outputs that are joined from several runs; None for small outputs.

        Raises:
            ResponseTooLarge: the outputs never fit.
            MemoryFull: the outputs do not fit now.
        """
        if size <= LARGE:
            return None
        if size > self._budget.limit:
            raise ResponseTooLarge(
                f"the outputs of all rows need {size} bytes of memory, at most {self._budget.limit}"
                " are available for requests (--memory-budget): send fewer rows"
            )
        holder = _Held()
        self._reserve(holder, size)
        return holder.held

    def release(self, holder: Holder) -> None:
        """Release the memory of a request that has ended."""
        if holder.held is not None:
            holder.held.release()
            holder.held = None

    @contextmanager
    def body(self, headers: Mapping[bytes, bytes], limit: int) -> Iterator[Grown]:
        """Reserve memory for a body of the control plane within a context. The context value must
        be called with the body each time it has grown.

        Raises:
            MemoryFull, BodyTooLarge: see ``expect``.
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
        """Count ``size`` bytes of answers that wait on a connection for its client."""
        if slow not in self._slow:
            self._slow[slow] = Reservation(self._budget)
        self._slow[slow].force(size)

    def forget(self, slow: Slow) -> None:
        """Release the bytes of a client that has read them or has disconnected."""
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
                f" {self._budget.limit} are available for requests (--memory-budget)"
            )
        self._reserve(holder, size)

    def _reserve(self, holder: Holder, size: int, beyond: int = 0) -> None:
        held = holder.held or Reservation(self._budget)
        more = size - held.size
        if not self._make_room(more, beyond) or not held.resize(size, beyond):
            self._refused += 1
            raise MemoryFull(
                f"requests and answers in flight hold {self._budget.held} bytes, this one needs"
                f" {more} more, the limit is {self._budget.limit} (--memory-budget): try again"
            )
        holder.held = held

    def _make_room(self, size: int, beyond: int) -> bool:
        """Return True if there is room. Drop answers that their clients do not read, if needed."""
        while not self._fits(size, beyond):
            slowest = min(self._slow, key=lambda slow: slow.silent_since(), default=None)
            if slowest is None or perf_counter() - slowest.silent_since() < GRACE_SECONDS:
                return False
            size_of = self._slow[slowest].size
            self.forget(slowest)
            slowest.drop()
            self._dropped += 1
            _log.warning("dropped an answer that its client did not read: %d bytes left", size_of)
        return True

    def _fits(self, size: int, beyond: int) -> bool:
        if not self._budget.has_room(size, beyond):
            return False
        left = self._address_space()
        # Reserved bytes may be allocated already or not: they are counted as not allocated.
        return left is None or left >= self._budget.held + size + MARGIN
