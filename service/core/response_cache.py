"""Cache of the outputs of earlier requests, by their inputs."""

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from sys import getsizeof

import numpy as np

from service.core.sizes import HERE_COPY
from service.core.tensors import Array, Arrays, Overriding

KEY_BYTES = 32
"""Two requests with different inputs have the same key with a probability of 2 to the power of
-128."""
OVERHEAD = 512
"""Bytes that an entry needs in addition to its values: the key, its place, and the array
objects."""


class ResponseCache:
    """Outputs by key, ``limit`` bytes at most. The least recently used entries are removed first.

    The arrays are copied, because the outputs of a batch are views of one large array.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Bytes."""
        self._entries: OrderedDict[bytes, Arrays] = OrderedDict()
        self.held = 0
        """Bytes."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Arrays | None:
        """Return the outputs, or None."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, outputs: Arrays) -> None:
        """Store outputs, unless they have more bytes than the limit, or take long to copy."""
        size = _size(outputs)
        if size > min(self.limit, HERE_COPY):
            return
        if key in self._entries:
            self.held -= _size(self._entries.pop(key))
        while self.held + size > self.limit:
            _, gone = self._entries.popitem(last=False)
            self.held -= _size(gone)
        kept = tuple([array.copy() for array in outputs])
        for array in kept:
            array.setflags(write=False)  # several answers are written from it
        self._entries[key] = kept
        self.held += size


def key_of(arrays: Arrays, outputs: tuple[int, ...] | None, alone: bool) -> bytes | None:
    """Return the key of a request: a hash of its inputs with their dtypes and shapes, of the places
    of the requested outputs (None for all), and of ``alone``.

    None for inputs of more than ``HERE_COPY`` bytes, which take long to hash.
    """
    if sum([array.nbytes for array in arrays]) > HERE_COPY:
        return None
    found = blake2b(repr((outputs, alone)).encode(), digest_size=KEY_BYTES)
    named: Iterable[tuple[str, Array]] = [("", array) for array in arrays]
    if isinstance(arrays, Overriding):
        named = [*named, *sorted(arrays.overrides.items())]
    for name, array in named:
        found.update(repr((name, array.dtype.str, array.shape)).encode())
        if array.dtype.hasobject:
            for value in array.flat:
                data = str(value).encode("utf-8", "surrogatepass")
                found.update(b"%d:" % len(data))
                found.update(data)
        else:
            found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()


def _size(outputs: Arrays) -> int:
    size = OVERHEAD
    for array in outputs:
        size += array.nbytes
        if array.dtype.hasobject:
            size += sum([getsizeof(value) for value in array.flat])
    return size
