"""Padding of variable lengths, so that requests of different lengths can share a run."""

from dataclasses import dataclass

from service.core.errors import SignatureMismatch
from service.core.tensors import Arrays


@dataclass(frozen=True, slots=True)
class Padding:
    """Fill the variable axes of some inputs up to the next bucket, so that lengths can mix.

    Per input in signature order, ``fills`` gives the value to fill with, or None to leave it, and
    ``axes`` says which axes of a row vary. Per output, ``cuts`` gives the axes to cut back, each
    with the (input, axis) whose unfilled length says where; these count the batch axis. ``shared``
    has, by name, the axes that must have the same length: filled up, they would all look alike.
    ``tight``: rows of one bucket are filled up to the longest of those that share a run, not to the
    bucket.
    """

    buckets: tuple[int, ...]
    fills: tuple[float | None, ...]
    axes: tuple[tuple[bool, ...], ...]
    cuts: tuple[tuple[tuple[int, int, int], ...], ...]
    shared: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = ()
    tight: bool = False

    def check(self, arrays: Arrays) -> None:
        """Check that axes which share a length have the same length before padding.

        Raises:
            SignatureMismatch: they are not.
        """
        for name, places in self.shared:
            lengths = [arrays[index].shape[axis] for index, axis in places]
            if len(set(lengths)) > 1:
                came = " and ".join(map(str, lengths))
                raise SignatureMismatch(f'inputs share the length "{name}", got {came}')

    def bucket(self, length: int) -> int:
        """The smallest bucket that holds the length; a longer one than all stays as it is."""
        return next((size for size in self.buckets if size >= length), length)

    def row_shape(self, index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that a row of input ``index`` is run with."""
        if self.fills[index] is None:
            return shape
        return tuple(
            self.bucket(length) if varies else length
            for length, varies in zip(shape, self.axes[index], strict=True)
        )
