"""BF16, which numpy lacks: its bit patterns as ``uint16``."""

import numpy as np

from service.core.datatypes import Array


def to_bfloat16(array: Array) -> tuple[Array, Array]:
    """Round FP32 to nearest, ties to even, as hardware does. Also return a mask of the finite
    numbers that became infinite."""
    bits = array.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded, ((rounded & 0x7F80) == 0x7F80) & np.isfinite(array)


def from_bfloat16(array: Array) -> Array:
    """Convert to FP32."""
    return (array.astype(np.uint32) << 16).view(np.float32)
