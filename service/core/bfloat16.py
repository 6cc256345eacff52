"""BF16, which numpy lacks: the bit patterns of it as ``uint16``."""

import numpy as np

from service.core.datatypes import Array


def to_bfloat16(array: Array) -> tuple[Array, Array]:
    """FP32 rounded to nearest, ties to even, as hardware does; and where finite numbers became
    infinite."""
    bits = array.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded, ((rounded & 0x7F80) == 0x7F80) & np.isfinite(array)


def from_bfloat16(array: Array) -> Array:
    """The same numbers as FP32."""
    return (array.astype(np.uint32) << 16).view(np.float32)
