"""Padding of variable lengths, so that requests of different lengths can share a run."""

from dataclasses import dataclass

from service.core.errors import SignatureMismatch
from service.core.tensors import Arrays


@dataclass(frozen=True, slots=True)
class Padding:
    """Pads the variable axes of some inputs to the next bucket, so that lengths can be mixed.

    Per input in signature order, ``fills`` is the value to pad with, or None for no padding, and
    ``axes`` says which axes of a row vary. Per output, ``cuts`` lists the axes to cut back, each
    with the (input, axis) that has the original length; these axes count the batch axis. ``shared``
    lists, by name, the axes that must have the same length: after padding, a difference could not
    be seen. ``tight``: rows of one bucket are padded to the longest row of their run, not to the
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
            SignatureMismatch: the lengths differ.
        """
        for name, places in self.shared:
            lengths = [arrays[index].shape[axis] for index, axis in places]
            if len(set(lengths)) > 1:
                came = " and ".join(map(str, lengths))
                raise SignatureMismatch(f'inputs share the length "{name}", got {came}')

    def bucket(self, length: int) -> int:
        """Return the smallest bucket that holds the length; the length itself if it exceeds all
        buckets."""
        return next((size for size in self.buckets if size >= length), length)

    def row_shape(self, index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape with which a row of input ``index`` is run."""
        if self.fills[index] is None:
            return shape
        return tuple(
            self.bucket(length) if varies else length
            for length, varies in zip(shape, self.axes[index], strict=True)
        )
