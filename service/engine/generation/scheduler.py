"""Decides which requests a step works on. Pure: time and sizes are arguments, nothing waits.

A step has at most one chunk of prompts (a part of a long prompt, or several short ones), and one
decode of all rows whose prompt has been read. So a prompt delays the other requests by at most one
chunk in each step, and every step reads prompts. The rows that decode are always the first rows of
the cache: when one ends, a later row moves into its place.

The keys, values and scores of a prompt are the same bits however it is cut into chunks of two or
more tokens (measured with FP32, per-row INT8 and INT4). A single token is computed by other
kernels. In per-row INT8 the scores change by 5 to 9 % of the largest then, because a difference of
1e-6 changes which way activations are rounded. So no chunk has one token, unless its prompt has
only one. If a prompt begins as another one in the cache, that beginning is copied, and only the
rest is read.

Only whole prompts of one length are read in one run. Prompts of different lengths would be padded,
and graphs that compute the scores of the last position only would have none for the shorter ones.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from sys import maxsize
from typing import Generic, NamedTuple, TypeVar

from service.core.errors import QueueFull
from service.core.queue_limit import is_full
from service.engine.generation.kept_prompts import LEAST, KeptPrompts, Move, Tokens

Work = TypeVar("Work")
LEAST_CHUNK = 3
"""The smallest limit of chunks: two and three add up to any number of tokens from two on."""


@dataclass(eq=False, slots=True)
class Entry(Generic[Work]):
    """One request. ``tokens`` are its prompt; times are seconds, on the caller's clock.

    ``row`` is its row in the cache, None while it waits; ``cached`` counts the tokens whose keys
    and values are in the cache.
    """

    work: Work
    tokens: Tokens
    priority: int
    arrived: float
    deadline: float | None = None
    row: int | None = None
    cached: int = 0

    @property
    def prompt(self) -> int:
        """The number of tokens of the prompt."""
        return len(self.tokens)

    @property
    def read(self) -> Tokens:
        """The tokens of the prompt that are in the cache."""
        return self.tokens[: self.cached]


class Prefill(NamedTuple, Generic[Work]):
    """A chunk of a prompt: the tokens from ``start`` up to ``stop``."""

    entry: Entry[Work]
    start: int
    stop: int

    @property
    def last(self) -> bool:
        """True if this chunk completes the prompt, so that the next token can be chosen."""
        return self.stop == self.entry.prompt

    @property
    def whole(self) -> bool:
        """True if this is a whole prompt of two tokens or more."""
        return not self.start and self.last and self.stop > 1


class Step(NamedTuple, Generic[Work]):
    """The work of one step: copies of rows, the runs that read chunks of prompts, then the next
    token of each request of ``decode``, whose rows are 0, 1, 2 and so on.

    ``joined`` are the requests that have got a row; the copies put their ``cached`` tokens there.
    The rows of the chunks follow one another. Every chunk except the last one completes its prompt.
    A run of several chunks reads whole prompts of one length.
    """

    moves: tuple[Move, ...]
    joined: tuple[Entry[Work], ...]
    runs: tuple[tuple[Prefill[Work], ...], ...]
    decode: tuple[Entry[Work], ...]

    @property
    def prefills(self) -> tuple[Prefill[Work], ...]:
        """The chunks of all runs."""
        return tuple(chain.from_iterable(self.runs))

    @property
    def next_row_tokens(self) -> int:
        """The number of tokens in the row after those of ``decode`` when the chunks have been read;
        0 if no request uses that row."""
        return self.runs[0][0].stop if self.runs else 0


class Waiting(Generic[Work]):
    """Requests that wait for a row, by priority, then by arrival; shared by schedulers."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # All state: one lane per priority, without empty lanes.
        self._lanes: dict[int, deque[Entry[Work]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def admit(self, entry: Entry[Work]) -> None:
        """Add a request after those of its priority. Less urgent requests do not count towards the
        limit, up to twice the limit in all.

        Raises:
            QueueFull: the limit of waiting requests is reached.
        """
        waiting = len(self)
        behind = sum(len(lane) for level, lane in self._lanes.items() if level > entry.priority)
        if is_full(self.limit, waiting, behind):
            raise QueueFull(f"{waiting} requests are waiting, the limit is {self.limit}")
        self._lanes.setdefault(entry.priority, deque()).append(entry)

    def pop(self, wanted: Callable[[Tokens], bool] = lambda _: True) -> Entry[Work] | None:
        """Remove and return the next request; None if no request waits, or if its prompt is not
        ``wanted``."""
        if not self._lanes:
            return None
        priority = min(self._lanes)
        lane = self._lanes[priority]
        if not wanted(lane[0].tokens):
            return None
        entry = lane.popleft()
        if not lane:
            del self._lanes[priority]
        return entry

    def remove(self, entry: Entry[Work]) -> bool:
        """Remove a request; return False if it does not wait."""
        lane = self._lanes.get(entry.priority, deque())
        if entry not in lane:
            return False
        lane.remove(entry)
        if not lane:
            del self._lanes[entry.priority]
        return True

    def expire(self, now: float) -> list[Entry[Work]]:
        """Remove and return the requests whose deadline has passed."""
        every = [entry for lane in self._lanes.values() for entry in lane]
        late = [each for each in every if each.deadline is not None and each.deadline <= now]
        for entry in late:
            self.remove(entry)
        return late

    def clear(self) -> list[Entry[Work]]:
        """Remove and return all requests."""
        every = [entry for lane in self._lanes.values() for entry in lane]
        self._lanes.clear()
        return every


class Scheduler(Generic[Work]):
    """The rows of one cache, filled with requests from ``waiting``. ``chunk`` is the largest number
    of prompt tokens in one step, at least ``LEAST_CHUNK``. ``together`` allows runs that read
    several prompts, ``reuse`` to copy the beginning of a prompt from another row.
    ``second_row``: a run of the first row alone also writes into the second.

    The caller gets a ``step``, runs it, reports it with ``ran``, and ends requests with ``finish``;
    then it gets the next step.
    """

    def __init__(
        self,
        waiting: Waiting[Work],
        slots: int,
        chunk: int,
        *,
        together: bool = True,
        reuse: bool = True,
        second_row: bool = False,
    ) -> None:
        self.slots = slots
        self._chunk = chunk
        self._together = together
        self._second_row = second_row and slots > 1
        self._kept = KeptPrompts(slots, LEAST if reuse else maxsize)
        self._waiting = waiting
        # All state, beside the prompts that are kept: the entries that decode, by row; and the
        # entries whose prompt is being read, in the rows after them. Between two steps at most one
        # prompt is being read.
        self._active: list[Entry[Work]] = []
        self._joining: list[Entry[Work]] = []

    @property
    def running(self) -> tuple[Entry[Work], ...]:
        """The requests that have a row, in order of their rows."""
        return (*self._active, *self._joining)

    @property
    def cached(self) -> int:
        """Tokens in the cache."""
        return sum(entry.cached for entry in self.running)

    def longest(self, prompt: Tokens) -> int:
        """Return how many tokens of a prompt could be copied."""
        return self._kept.longest(prompt, [each.read for each in self.running])

    def step(self, elsewhere: Callable[[Tokens], int] = lambda _: 0) -> Step[Work]:
        """Return the next step. If there is no work, all of its parts are empty.

        ``elsewhere`` returns ``longest`` of the idle schedulers of the same model. A request is
        left to them if they have more of its prompt.
        """
        moves: list[Move] = []
        joined: list[Entry[Work]] = []
        prefills: list[Prefill[Work]] = []
        left = self._chunk
        while left >= LEAST_CHUNK:
            entry = self._to_read(prefills, left, elsewhere)
            if entry is None:
                break
            if entry.row is None:
                joined.append(entry)
                moves += self._join(entry)
            rest = entry.prompt - entry.cached
            stop = entry.cached + min(rest, left - 1 if rest == left + 1 else left)
            prefills.append(Prefill(entry, entry.cached, stop))
            left -= stop - entry.cached
        if self._second_row and len(self._active) == len(self.running) == 1:
            moves += self._kept.clear(1)  # see Decoder.next
        return Step(tuple(moves), tuple(joined), self._runs(prefills), tuple(self._active))

    def _runs(self, prefills: list[Prefill[Work]]) -> tuple[tuple[Prefill[Work], ...], ...]:
        """Divide chunks into runs. Neighbouring whole prompts are sorted by their lengths, and
        exchange their rows."""
        runs: list[tuple[Prefill[Work], ...]] = []
        for whole, neighbours in groupby(prefills, lambda each: each.whole and self._together):
            chunks = list(neighbours)
            if not whole:
                runs += [(each,) for each in chunks]
                continue
            rows = [each.entry.row for each in chunks]
            chunks.sort(key=lambda each: each.stop)
            for row, each in zip(rows, chunks, strict=True):
                each.entry.row = row
            runs += [tuple(run) for _, run in groupby(chunks, lambda each: each.stop)]
        self._joining = [each.entry for run in runs for each in run]
        return tuple(runs)

    def _to_read(
        self,
        prefills: Sequence[Prefill[Work]],
        left: int,
        elsewhere: Callable[[Tokens], int],
    ) -> Entry[Work] | None:
        """Return the request whose prompt is read after these chunks, with up to ``left`` tokens in
        this step, if there is one."""

        def wanted(prompt: Tokens) -> bool:
            best = elsewhere(prompt)
            if len(prompt) > left:
                # In the next step, a prompt that is read in this one may have more of it.
                read = [each.entry.tokens[: each.stop] for each in prefills]
                best = max(best, self._kept.common(prompt, read))
            return not best or best <= self.longest(prompt)

        if len(prefills) < len(self._joining):
            return self._joining[len(prefills)]
        room = len(self._active) + len(prefills) < self.slots
        return self._waiting.pop(wanted) if room else None

    def _join(self, entry: Entry[Work]) -> tuple[Move, ...]:
        """Give a request the first free row. Return the copies that put tokens into it."""
        running = self.running
        entry.row = len(running)
        read = [each.read for each in running]
        entry.cached, moves = self._kept.take(entry.row, entry.tokens, read)
        self._joining.append(entry)
        return moves

    def ran(self, step: Step[Work]) -> None:
        """Record that a step has ended: its tokens are in the cache."""
        for entry in step.decode:
            entry.cached += 1
        for prefill in step.prefills:
            prefill.entry.cached = prefill.stop
            if prefill.last:
                self._joining.remove(prefill.entry)
                self._active.append(prefill.entry)

    def finish(self, entry: Entry[Work], *, keep: bool = True) -> tuple[Move, ...]:
        """Release the row of a request that has ended. Return the copies that close the gap, in the
        order in which they must be made. ``keep``: its prompt may be used again."""
        row, entry.row = entry.row, None
        assert row is not None, "it has a row. This is a bug."
        kept = self._kept.worth_keeping(entry.read) if keep else ()
        followers: list[Entry[Work]] = []
        if entry in self._joining:
            self._joining.remove(entry)
        else:
            last = self._active.pop()
            if last is not entry:
                self._active[row] = last
                followers.append(last)
            followers += self._joining
        moves = []
        for each in followers:
            assert each.row is not None, "it has a row. This is a bug."
            moves.append(Move(each.row, row, each.cached, len(kept)))
            each.row, row = row, each.row
        self._kept.keep(row, kept)
        return tuple(moves)
