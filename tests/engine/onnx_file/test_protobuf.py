"""Protobuf is read as it was written; invalid bytes are an error, not a crash or endless loop."""

from contextlib import suppress

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.onnx_file.protobuf import WireError, fields, integers, text, varint, view


def encoded(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_encoded_integers_are_decoded(number: int, rest: bytes) -> None:
    data = memoryview(encoded(number) + rest)
    assert varint(data, 0) == (number, len(data) - len(rest))


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_packed_integers_are_decoded(numbers: list[int]) -> None:
    assert integers(memoryview(b"".join(map(encoded, numbers)))) == numbers
    assert [n for number in numbers for n in integers(number)] == numbers


def test_every_wire_type_that_onnx_uses_is_read() -> None:
    attribute = onnx.AttributeProto(name="é", i=-1, f=1.0)
    found = dict(fields(memoryview(attribute.SerializeToString())))
    assert text(found[1]) == "é"
    assert found[3] == 2**64 - 1
    assert bytes(view(found[2])) == b"\0\0\x80?"


def test_a_value_is_a_view_and_not_a_copy() -> None:
    data = memoryview(onnx.TensorProto(raw_data=b"x" * 100).SerializeToString())
    ((_, value),) = fields(data)
    assert view(value).obj is data.obj


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x0a\x05abc", "exceeds the end"),
        (b"\x0a", "does not end"),
        (b"\xff" * 11, "does not end"),
        (b"\x0b", "wire type 3"),
        (b"\x02\x01", "without a number"),
        (b"\x00\x01", "without a number"),
        (b"\x0d\x00", "exceeds the end"),
    ],
)
def test_invalid_protobuf_is_refused_with_the_reason(data: bytes, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        list(fields(memoryview(data)))


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_an_error(data: bytes) -> None:
    with suppress(WireError):
        for _, value in fields(memoryview(data)):
            integers(value)


def test_a_number_where_a_text_or_message_belongs_is_an_error() -> None:
    with pytest.raises(WireError, match="text"):
        text(7)
    with pytest.raises(WireError, match="message"):
        view(7)
