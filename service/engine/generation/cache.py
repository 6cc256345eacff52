"""The KV cache: memory for the keys and values of the tokens that were read, with a row for each
request.

The memory is mapped, so that pages are allocated only as rows grow, not for the longest context in
all rows. Huge pages are turned off for it, because one huge page spans many tokens of several rows.
"""

import mmap
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from service.engine.generation.kept_prompts import Move

NO_HUGE_PAGES = getattr(mmap, "MADV_NOHUGEPAGE", None)


class Cache:
    """Two arrays a layer, keys and values: [rows, heads, context, head_size]."""

    def __init__(self, layers: int, shape: Sequence[int], dtype: DTypeLike) -> None:
        self.rows, self.heads, self.context, self.size = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.layers = tuple((self._map(), self._map()) for _ in range(layers))
        # The largest number of tokens that each row has had: their pages stay allocated.
        self._reached = [0] * self.rows

    @property
    def token_bytes(self) -> int:
        """The bytes of one token."""
        return 2 * len(self.layers) * self.heads * self.size * self.dtype.itemsize

    @property
    def most_bytes(self) -> int:
        """The memory of the cache in bytes when all rows are full."""
        return self.rows * self.context * self.token_bytes

    @property
    def held_bytes(self) -> int:
        """The memory that the cache uses now in bytes, to within a page of each row and head."""
        return sum(self._reached) * self.token_bytes

    def reach(self, row: int, length: int) -> None:
        """Record the total number of tokens of a row, ``length``."""
        if length > self._reached[row]:
            self._reached[row] = length

    def move(self, move: Move) -> None:
        """Copy or exchange the first tokens of two rows; see ``Move``."""
        source, target, length, kept = move
        self.reach(target, length)
        self.reach(source, kept)
        for pair in self.layers:
            for array in pair:
                old = array[target, :, :kept].copy() if kept else None
                array[target, :, :length] = array[source, :, :length]
                if old is not None:
                    array[source, :, :kept] = old

    def _map(self) -> NDArray[Any]:
        shape = (self.rows, self.heads, self.context, self.size)
        pages = mmap.mmap(-1, prod(shape) * self.dtype.itemsize)
        if NO_HUGE_PAGES is not None:
            pages.madvise(NO_HUGE_PAGES)
        return np.frombuffer(pages, self.dtype).reshape(shape)
