"""The end of a tensor in a file beside the graph."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from service.engine.onnx_file.external import BITS, bytes_of, external_data, external_entries
from service.engine.onnx_file.protobuf import WireError

FEW_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
ENTRIES = [("location", "w.bin"), ("offset", "8"), ("length", "8")]


@pytest.mark.parametrize("kind", BITS, ids=TensorProto.DataType.Name)
def test_sizes_match_the_bytes_that_onnx_writes(kind: int) -> None:
    name = TensorProto.DataType.Name(kind)
    bits = FEW_BITS.get(name) or helper.tensor_dtype_to_np_dtype(kind).itemsize * 8
    assert bytes_of(kind, [3, 5]) == (15 * bits + 7) // 8


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_the_end_is_the_offset_plus_the_larger_size(offset: int, length: int) -> None:
    entries = [("location", "w.bin"), ("offset", str(offset)), ("length", str(length))]
    (found,) = external_data("t", entries, TensorProto.FLOAT, [10])
    assert found.end == offset + max(40, length)
    assert (found.location, found.tensor) == ("w.bin", "t")


def test_entries_are_read_from_a_tensor() -> None:
    tensor = TensorProto(name="t", data_type=1, dims=[2])
    for key, value in ENTRIES:
        tensor.external_data.add(key=key, value=value)
    assert external_entries(memoryview(tensor.SerializeToString())) == ENTRIES


@pytest.mark.parametrize("value", ["-1", "1.5", "", "9" * 20, "0x10"])
def test_an_invalid_offset_is_refused(value: str) -> None:
    with pytest.raises(WireError, match="offset is"):
        list(external_data("t", [("offset", value), ("location", "w")], 1, [1]))
