"""BF16 is the upper half of FP32, rounded to nearest and ties to even."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.core.bfloat16 import from_bfloat16, to_bfloat16

FLOATS = arrays.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32))


@given(FLOATS)
def test_round_trip_error_is_at_most_half_a_unit_in_the_last_place(values: np.ndarray) -> None:
    bits, overflowed = to_bfloat16(values)
    back = from_bfloat16(bits)
    kept = np.isfinite(values) & ~overflowed
    wanted, got = values[kept].astype(np.float64), back[kept].astype(np.float64)
    unit = np.maximum(2.0 ** (np.floor(np.log2(np.maximum(np.abs(wanted), 1e-38))) - 7), 2.0**-133)
    assert (np.abs(wanted - got) <= unit / 2).all()
    assert np.isinf(back[overflowed]).all()
    assert (np.isinf(back[np.isinf(values)]) == True).all()  # noqa: E712 - an array


def test_ties_go_to_the_even_neighbour() -> None:
    ties = np.array([0x3F80_8000, 0x3F81_8000], np.uint32).view(np.float32)
    assert to_bfloat16(ties)[0].tolist() == [0x3F80, 0x3F82]
