"""The queue that forms batches: a data structure that receives the time as an argument.

No method waits. A lane holds the requests that may share a batch: same priority and same key,
oldest first.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, inf
from typing import Generic, NamedTuple, TypeVar

from service.core.errors import QueueFull
from service.core.padding import Padding
from service.core.queue_limit import is_full
from service.core.tensors import Arrays

Reply = TypeVar("Reply")
RUN_ROWS = 64
"""Default for the largest number of rows in one run."""


class BatchingMode(StrEnum):
    """How requests for a model may be combined.

    COMBINE: rows of several requests share a run.
    ROWS: every row has a run of its own; a request of several rows is split.
    REQUESTS: every request has a run of its own and is not changed.
    """

    COMBINE = "combine"
    ROWS = "rows"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How a model's requests are queued and combined. Times are seconds.

    ``preferred_rows`` is the size that a batch grows to; it is 1 in the modes that do not combine.
    If ``run_tokens`` is not 0, it replaces this bound: rows times their longest axis may not exceed
    it. So a batch of long rows has fewer rows than a batch of short ones.

    A single request of up to ``max_rows`` rows is run whole, unless the mode is ROWS. A larger
    request is cut into parts of ``part_rows`` rows. If ``part_rows`` is 0, it is refused, and
    ``refusal`` tells the client what to do. If ``divided_rows`` is not 0, idle instances divide the
    waiting rows, but into batches of at least so many rows. ``max_queue`` bounds the waiting
    requests of the same or a more urgent priority. ``timeout`` is the longest wait of a request
    that sets no timeout itself; None for no limit. ``fixed`` are the row shapes of all requests, if
    they are always the same.
    """

    mode: BatchingMode = BatchingMode.COMBINE
    max_rows: int = RUN_ROWS
    preferred_rows: int = RUN_ROWS
    max_delay: float = 0.0
    max_queue: int = 1024
    timeout: float | None = None
    padding: Padding | None = None
    part_rows: int = 0
    refusal: str = "send fewer"
    run_tokens: int = 0
    fixed: tuple[tuple[int, ...], ...] | None = None
    divided_rows: int = 0

    def rows_for(self, shapes: tuple[tuple[int, ...], ...]) -> int:
        """Return the number of rows of these shapes that a batch grows to."""
        if not self.run_tokens or self.mode is not BatchingMode.COMBINE:
            return self.preferred_rows
        longest = max([length for shape in shapes for length in shape], default=1)
        return min(self.max_rows, max(1, self.run_tokens // max(1, longest)))

    def row_shapes(self, arrays: Arrays) -> tuple[tuple[int, ...], ...]:
        """Return the shapes with which the rows of a request are run.

        Raises:
            SignatureMismatch: see ``Padding.check``.
        """
        if self.fixed is not None:
            return self.fixed
        shapes = tuple([array.shape[1:] for array in arrays])
        if self.padding is None:
            return shapes
        self.padding.check(arrays)
        return tuple(self.padding.row_shape(i, shape) for i, shape in enumerate(shapes))


class BatchKey(NamedTuple):
    """The properties that requests must have in common to share a batch.

    ``shapes`` are the shapes of one row per input, in signature order, after padding. The datatypes
    are fixed by the signature. ``outputs`` are the places of the requested outputs, None for all.
    ``alone`` is a unique object for a request that must not share a run, else None.
    """

    shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...] | None
    alone: object = None


@dataclass(eq=False, slots=True)
class Entry(Generic[Reply]):
    """One waiting request: its arrays in signature order, and its reply. Times are seconds.

    If this is one of several parts of a request, ``part_of`` is that request, else None.
    """

    arrays: Arrays
    rows: int
    key: BatchKey
    priority: int
    arrived: float
    deadline: float | None
    reply: Reply
    part_of: object | None = None


class Batch(NamedTuple, Generic[Reply]):
    """Requests that run together, oldest first."""

    entries: tuple[Entry[Reply], ...]
    rows: int


@dataclass(eq=False, slots=True)
class _Lane(Generic[Reply]):
    limit: int
    entries: deque[Entry[Reply]] = field(default_factory=deque)
    rows: int = 0


class BatchQueue(Generic[Reply]):
    """The waiting requests, and the rule that forms batches from them."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        # All state: the lanes by (priority, key), without empty ones; the number of waiting
        # requests, where a request in parts counts once; the number of waiting parts of each such
        # request; and a time before which no deadline passes.
        self._lanes: dict[tuple[int, BatchKey], _Lane[Reply]] = {}
        self._size = 0
        self._parts: dict[object, int] = {}
        self._no_deadline_before = inf

    def __len__(self) -> int:
        """Return the number of requests that wait, in whole or in part."""
        return self._size

    def __iter__(self) -> Iterator[Entry[Reply]]:
        return (entry for lane in self._lanes.values() for entry in lane.entries)

    def rows_ahead(self, priority: int) -> int:
        """Return the number of rows that run before a new request of this priority."""
        return sum([lane.rows for name, lane in self._lanes.items() if name[0] <= priority])

    def check_room(self, priority: int) -> None:
        """Check that one more request of this priority may wait. Less urgent requests do not count
        towards the limit, up to twice the limit in all, so that many of them do not keep it out.

        Raises:
            QueueFull: it may not wait.
        """
        limit = self._policy.max_queue
        if self._size < limit:
            return
        behind = sum(
            [len(lane.entries) for name, lane in self._lanes.items() if name[0] > priority]
        )
        if is_full(limit, self._size, behind):
            raise QueueFull(
                f"{self._size} requests are waiting and 1 more would exceed the limit of {limit}"
            )

    def push(self, entry: Entry[Reply], admitted: bool = False) -> None:
        """Add a request at the end of its lane. ``admitted``: the entry is a part of a request that
        was admitted before, so the limit does not apply.

        Raises:
            QueueFull: the queue is full; the entry is not added.
        """
        if not admitted:
            self.check_room(entry.priority)
        name = (entry.priority, entry.key)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(self._policy.rows_for(entry.key.shapes))
        lane.entries.append(entry)
        lane.rows += entry.rows
        if entry.part_of is None:
            self._size += 1
        else:
            self._count_part(entry.part_of, 1)
        if entry.deadline is not None and entry.deadline < self._no_deadline_before:
            self._no_deadline_before = entry.deadline

    def pop(self, now: float, *, full: bool = False, idle: int = 1) -> Batch[Reply] | None:
        """Remove and return the next batch, or None. Of the lanes that are due, take the one with
        the highest priority, then the oldest one. With ``full``, take only a lane that has enough
        rows for a batch of full size. ``idle`` is the number of instances without a run, which
        divide the rows of the lane if the policy has ``divided_rows``."""
        name = self._next_lane(now, full)
        if name is None:
            return None
        lane = self._lanes[name]
        entries, limit = lane.entries, lane.limit
        if idle > 1 and self._policy.divided_rows:
            limit = min(limit, max(self._policy.divided_rows, ceil(lane.rows / idle)))
        taken = [entries.popleft()]
        rows = taken[0].rows
        while entries and rows + entries[0].rows <= limit:
            taken.append(entries.popleft())
            rows += taken[-1].rows
        self._account(lane, taken, rows)
        if not entries:
            del self._lanes[name]
        return Batch(tuple(taken), rows)

    def _next_lane(self, now: float, full: bool) -> tuple[int, BatchKey] | None:
        best, best_rank = None, (0, 0.0)
        for name, lane in self._lanes.items():
            if self._due(lane) <= now and (lane.rows >= lane.limit or not full):
                rank = (name[0], lane.entries[0].arrived)
                if best is None or rank < best_rank:
                    best, best_rank = name, rank
        return best

    def due(self) -> float | None:
        """Return the time at which the next batch is due; None while the queue is empty."""
        return min(map(self._due, self._lanes.values()), default=None)

    def next_deadline(self) -> float | None:
        """Return the time at which to call ``expire``; None if no waiting request has a
        deadline."""
        return None if self._no_deadline_before == inf else self._no_deadline_before

    def expire(self, now: float) -> list[Entry[Reply]]:
        """Remove and return the requests whose deadline has passed."""
        if now < self._no_deadline_before:
            return []
        expired = self.remove(lambda entry: entry.deadline is not None and entry.deadline <= now)
        left = (entry.deadline for entry in self if entry.deadline is not None)
        self._no_deadline_before = min(left, default=inf)
        return expired

    def remove(self, unwanted: Callable[[Entry[Reply]], bool]) -> list[Entry[Reply]]:
        """Remove and return the requests for which ``unwanted`` is true."""
        removed = [entry for entry in self if unwanted(entry)]
        for entry in removed:
            lane = self._lanes[entry.priority, entry.key]
            lane.entries.remove(entry)
            self._account(lane, [entry], entry.rows)
            if not lane.entries:
                del self._lanes[entry.priority, entry.key]
        return removed

    def _due(self, lane: _Lane[Reply]) -> float:
        head = lane.entries[0].arrived
        return head if lane.rows >= lane.limit else head + self._policy.max_delay

    def _account(self, lane: _Lane[Reply], taken: list[Entry[Reply]], rows: int) -> None:
        lane.rows -= rows
        self._size -= len(taken)
        if self._parts:
            for entry in taken:
                if entry.part_of is not None:
                    self._size += 1
                    self._count_part(entry.part_of, -1)
        if not self._size:
            self._no_deadline_before = inf

    def _count_part(self, request: object, change: int) -> None:
        before = self._parts.pop(request, 0)
        after = before + change
        if after:
            self._parts[request] = after
        self._size += (after > 0) - (before > 0)
