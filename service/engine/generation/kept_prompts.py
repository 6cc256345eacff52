"""Remembers which prompts the rows of a cache hold, so that a prompt with the same beginning is not
read again. Pure: the caller copies the rows.

Only prompts are remembered, not answers: keys and values of tokens that were decoded one by one
differ from those of a prompt in their last bits, which would change later answers.
"""

from collections.abc import Sequence
from typing import NamedTuple

Tokens = Sequence[int]
LEAST = 16
"""Tokens. Shorter beginnings are not worth a copy."""
BLOCK = 256
"""Tokens that are compared at once."""


class Move(NamedTuple):
    """A copy to make in the cache: the first ``length`` tokens of a row to another row. The first
    ``kept`` tokens of that row take their place."""

    source: int
    target: int
    length: int
    kept: int = 0


class KeptPrompts:
    """The prompts in the free rows of a cache, which are those after its used rows. Beginnings of
    less than ``least`` tokens are neither kept nor used."""

    def __init__(self, rows: int, least: int = LEAST) -> None:
        self._least = least
        # All state: the prompt that each free row holds, when it was used last, and a counter of
        # uses.
        self._prompts: list[Tokens] = [()] * rows
        self._used = [0] * rows
        self._uses = 0

    def worth_keeping(self, prompt: Tokens) -> Tokens:
        """Return the prompt, or an empty one if it is too short to be kept."""
        return prompt if len(prompt) >= self._least else ()

    def keep(self, row: int, prompt: Tokens) -> None:
        """Remember the prompt of a row that is free now; an empty one if it holds none."""
        self._prompts[row] = prompt
        self._note(row)

    def take(
        self, row: int, prompt: Tokens, running: Sequence[Tokens]
    ) -> tuple[int, tuple[Move, ...]]:
        """Prepare the first free row for a prompt; ``running`` are the prompts of the rows before
        it, as far as they were read.

        Return how many tokens of the prompt the row holds after some copies, and these copies in
        their order. At least the last two tokens of the prompt remain to be read.
        """
        held = [*running, *self._prompts[row:]]
        lengths = self._lengths(prompt, running)
        source = max(range(len(held)), key=lambda each: (lengths[each], each == row))
        length, old = lengths[source], self._prompts[row]
        self._prompts[row] = ()
        if length < self._least:
            return 0, self._put_aside(row, old)
        # If most of the other prompt is the beginning of this one, nobody needs the other any more.
        replaces = source >= row and 2 * length >= len(held[source])
        if source == row:
            return length, () if replaces else self._put_aside(row, old)
        if replaces:
            self._prompts[source], self._used[source] = old, self._used[row]
            return length, (Move(source, row, length, len(old)),)
        if source > row:
            self._note(source)
        return length, (*self._put_aside(row, old), Move(source, row, length))

    def clear(self, row: int) -> tuple[Move, ...]:
        """Empty a free row that will be written to. Return the copy that keeps its prompt."""
        old, self._prompts[row] = self._prompts[row], ()
        return self._put_aside(row, old)

    def longest(self, prompt: Tokens, running: Sequence[Tokens]) -> int:
        """Return how many tokens of a prompt ``take`` would find, 0 if they are too few to use."""
        length = max(self._lengths(prompt, running), default=0)
        return length if length >= self._least else 0

    def _lengths(self, prompt: Tokens, running: Sequence[Tokens]) -> list[int]:
        """Return the length of the common beginning with each prompt in the cache."""
        begin = prompt[:-2]
        return [_shared(each, begin) for each in (*running, *self._prompts[len(running) :])]

    def _put_aside(self, row: int, prompt: Tokens) -> tuple[Move, ...]:
        """Move the prompt of a row to the free row that was used longest ago."""
        after = range(row + 1, len(self._prompts))
        oldest = min(after, key=self._used.__getitem__, default=row)
        if not prompt or self._used[oldest] >= self._used[row]:
            return ()
        self._prompts[oldest], self._used[oldest] = prompt, self._used[row]
        return (Move(row, oldest, len(prompt)),)

    def _note(self, row: int) -> None:
        self._uses += 1
        self._used[row] = self._uses


def _shared(one: Tokens, other: Tokens) -> int:
    """Return the length of the common beginning of two sequences."""
    most, at = min(len(one), len(other)), 0
    while at < most and one[at : at + BLOCK] == other[at : at + BLOCK]:
        at += BLOCK
    while at < most and one[at] == other[at]:
        at += 1
    return min(at, most)
