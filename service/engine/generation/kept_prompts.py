"""Remembers which prompts the rows of a cache hold, so that a prompt with the same beginning is not
read again. Pure: the caller copies the rows.

Only prompts are remembered, not answers: keys and values of tokens that were decoded one by one
differ from those of a prompt in their last bits, which would change later answers.
"""

from collections.abc import Sequence
from typing import NamedTuple

Tokens = Sequence[int]
LEAST = 16
"""The minimum number of tokens to keep or copy. Reading fewer takes little time."""
BLOCK = 256
"""The number of tokens in each slice that is compared."""


class Move(NamedTuple):
    """A copy to make in the cache: the first ``length`` tokens of the row ``source`` to the row
    ``target``. If ``kept`` is not 0, the rows are exchanged: the first ``kept`` tokens of
    ``target`` are copied to ``source``."""

    source: int
    target: int
    length: int
    kept: int = 0


class KeptPrompts:
    """The prompts in the free rows of a cache, which are those after its used rows. Beginnings of
    less than ``least`` tokens are neither kept nor used."""

    def __init__(self, rows: int, least: int = LEAST) -> None:
        self._least = least
        # All state: the prompt that each free row holds, when it was used last (0 for a row without
        # a prompt), and a counter of uses.
        self._prompts: list[Tokens] = [()] * rows
        self._used = [0] * rows
        self._uses = 0

    def worth_keeping(self, prompt: Tokens) -> Tokens:
        """Return the prompt, or an empty one if it is too short to be kept."""
        return prompt if len(prompt) >= self._least else ()

    def keep(self, row: int, prompt: Tokens) -> None:
        """Remember the prompt of a row that is free now; an empty one if it holds none. Other free
        rows need not hold a beginning of it too."""
        for each in range(row + 1, len(self._prompts)):
            if _begins(prompt, self._prompts[each]):
                self._forget(each)
        self._prompts[row] = prompt
        if prompt:
            self._note(row)
        else:
            self._forget(row)

    def take(
        self, row: int, prompt: Tokens, running: Sequence[Tokens]
    ) -> tuple[int, tuple[Move, ...]]:
        """Prepare the first free row for a prompt; ``running`` are the prompts of the rows before
        it, as far as they were read.

        Return how many tokens of the prompt the row holds after some copies, and these copies in
        their order. At least the last two tokens of the prompt remain to be read.
        """
        held = [*running, *self._prompts[row:]]
        lengths = [_shared(each, prompt[:-2]) for each in held]
        source = max(range(len(held)), key=lambda each: (lengths[each], each == row))
        length = lengths[source]
        if length < self._least:
            return 0, self.clear(row)
        # If less than the minimum of the other prompt would be lost, its row is not preserved.
        replaces = source >= row and len(held[source]) - length < self._least
        if source == row:
            if replaces:
                self._forget(row)
                return length, ()
            return length, self.clear(row)
        if replaces:
            old = self._prompts[row]
            self._prompts[source], self._used[source] = old, self._used[row]
            self._forget(row)
            return length, (Move(source, row, length, len(old)),)
        if source > row:
            self._note(source)
        return length, (*self.clear(row), Move(source, row, length))

    def clear(self, row: int) -> tuple[Move, ...]:
        """Empty a free row. Return the copy that moves its prompt to the least recently used free
        row after it. The prompt is dropped if all of these rows were used more recently."""
        prompt, used = self._prompts[row], self._used[row]
        self._forget(row)
        after = range(row + 1, len(self._prompts))
        if not prompt or not after:
            return ()
        oldest = min(after, key=self._used.__getitem__)
        if self._used[oldest] >= used:
            return ()
        if any(_begins(self._prompts[each], prompt) for each in after):
            return ()  # it is kept already
        self._prompts[oldest], self._used[oldest] = prompt, used
        return (Move(row, oldest, len(prompt)),)

    def longest(self, prompt: Tokens, running: Sequence[Tokens]) -> int:
        """Return how many tokens of a prompt ``take`` would find, 0 if they are too few to use."""
        return self.common(prompt, (*running, *self._prompts[len(running) :]))

    def common(self, prompt: Tokens, others: Sequence[Tokens]) -> int:
        """Return how many tokens of a prompt can be copied from one of the others, 0 if they are
        too few."""
        if len(prompt) < self._least:
            return 0
        length = max((_shared(each, prompt[:-2]) for each in others), default=0)
        return length if length >= self._least else 0

    def _forget(self, row: int) -> None:
        self._prompts[row], self._used[row] = (), 0

    def _note(self, row: int) -> None:
        self._uses += 1
        self._used[row] = self._uses


def _begins(one: Tokens, other: Tokens) -> bool:
    """Return True if ``one`` begins with all of ``other``, or is equal to it."""
    return len(other) <= len(one) and one[: len(other)] == other


def _shared(one: Tokens, other: Tokens) -> int:
    """Return the length of the common beginning of two sequences."""
    most, at = min(len(one), len(other)), 0
    while at < most and one[at : at + BLOCK] == other[at : at + BLOCK]:
        at += BLOCK
    while at < most and one[at] == other[at]:
        at += 1
    return min(at, most)
