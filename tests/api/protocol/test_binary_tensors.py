"""Tensors encoded as raw bytes are decoded to the same values; invalid bytes are refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.protocol.binary_tensors import from_bytes, to_bytes
from service.core.errors import MalformedRequest
from service.core.tensors import DATATYPES, Array, Tensor

FIXED = [name for name in DATATYPES if name not in ("BYTES", "BF16")]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, max_side=5)


@given(st.data(), st.sampled_from(FIXED))
def test_tensors_of_fixed_size_are_decoded_to_the_same_values(
    data: st.DataObject, name: str
) -> None:
    datatype = DATATYPES[name]
    array = data.draw(arrays.arrays(datatype.dtype, SHAPES))
    sent = memoryview(bytes(to_bytes(Tensor("x", datatype, array))))
    assert len(sent) == array.size * datatype.size
    got = from_bytes("x", datatype, array.shape, sent).array
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


@given(arrays.arrays(object, SHAPES, elements=st.text(max_size=8)), st.integers(0, 3))
def test_strings_at_any_offset_are_decoded_to_the_same_values(array: Array, offset: int) -> None:
    sent = b"\0" * offset + bytes(to_bytes(Tensor("x", DATATYPES["BYTES"], array)))
    got = from_bytes("x", DATATYPES["BYTES"], array.shape, memoryview(sent)[offset:]).array
    assert got.tolist() == array.tolist()


def test_an_unaligned_view_is_copied() -> None:
    data = memoryview(b"\0" + np.arange(4, dtype=np.float64).tobytes())[1:]
    got = from_bytes("x", DATATYPES["FP64"], [4], data).array
    assert got.flags.aligned and got.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "shape", "data", "told"),
    [
        ("FP32", [2], b"1234", "has 4 bytes, FP32 [2] needs 8"),
        ("BYTES", [2], b"\1\0\0\0a", "has 1 values, shape [2] needs 2"),
        ("BYTES", [1], b"\1\0\0\0a\1\0\0\0b", "has 2 values, shape [1] needs 1"),
        ("BYTES", [1], b"\5\0\0\0a", "BYTES element 0 has 5 bytes, 1 are left"),
        ("BYTES", [1], b"\5\0", "BYTES element 0 has an incomplete length"),
        ("BYTES", [1], b"\1\0\0\0\xff", "a BYTES element is not UTF-8"),
    ],
)
def test_bytes_that_do_not_fit_the_tensor_are_refused_with_the_reason(
    name: str, shape: Any, data: bytes, told: str
) -> None:
    with pytest.raises(MalformedRequest) as error:
        from_bytes("x", DATATYPES[name], shape, memoryview(data))
    assert told in str(error.value)


def test_decoding_a_long_tensor_of_strings_pauses_regularly() -> None:
    array, calls = np.array(["a"] * 5000, object), []
    sent = to_bytes(Tensor("x", DATATYPES["BYTES"], array), lambda: calls.append(1))
    from_bytes("x", DATATYPES["BYTES"], [5000], memoryview(bytes(sent)), lambda: calls.append(2))
    assert calls.count(1) >= 4 and calls.count(2) >= 4
