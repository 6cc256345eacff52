"""Requests are split as protobuf parses them, and broken requests are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.service_pb2 import ModelInferRequest

from service.api.grpc.wire import MOST_FIELDS, encoded_varint, field, prefix, split, varint
from service.core.errors import MalformedRequest

TEXT = st.text(max_size=200)


@given(TEXT, TEXT, TEXT, st.lists(st.binary(max_size=300), max_size=5), st.lists(TEXT, max_size=4))
def test_a_request_is_split_into_its_parts(
    model: str, version: str, id: str, raw: list[bytes], names: list[str]
) -> None:
    request = ModelInferRequest(
        model_name=model, model_version=version, id=id, raw_input_contents=raw
    )
    for name in names:
        request.inputs.add(name=name, datatype="FP32", shape=[1, 300])
    body = request.SerializeToString()
    parts = split(body)
    assert parts[:3] == (model, version, id)
    assert [body[start:end] for start, end in parts.raw] == raw
    rest = ModelInferRequest.FromString(parts.head)
    request.ClearField("raw_input_contents")
    request.ClearField("id")
    assert rest == request


def test_fields_may_be_in_any_order() -> None:
    whole = ModelInferRequest(model_name="m", raw_input_contents=[b"12"])
    other = ModelInferRequest(id="7", model_version="3")
    body = whole.SerializeToString() + other.SerializeToString()
    parts = split(body)
    assert parts[:3] == ("m", "3", "7")
    assert [body[start:end] for start, end in parts.raw] == [b"12"]
    assert ModelInferRequest.FromString(parts.head) == ModelInferRequest(
        model_name="m", model_version="3"
    )


def test_unknown_fields_are_ignored() -> None:
    unknown = b"\x98\x06\x05" + b"\x9d\x06abcd" + b"\xa1\x06abcdefgh" + b"\xaa\x06\x02hi"
    parts = split(unknown + field(0x0A, b"m"))
    assert (parts.model, parts.head) == ("m", unknown + field(0x0A, b"m"))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        parts = split(body)
    except MalformedRequest:
        return
    assert sum(end - start for start, end in parts.raw) <= len(body)


@pytest.mark.parametrize(
    "body",
    [b"\x0a", b"\x0a\x05abc", b"\x3a\xff\xff\xff\xff\x0f", b"\x0a\x80", b"\x0b", b"\x98\x06",
     b"\x9d\x06a", b"\x98\x06" + b"\xff" * 11, b"\x0a\x02\xff\xff"],
)  # fmt: skip
def test_broken_requests_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        split(body)


def test_a_request_with_too_many_fields_is_refused() -> None:
    split(b"\x1a\x00" * MOST_FIELDS)
    with pytest.raises(MalformedRequest, match="more than"):
        split(b"\x1a\x00" * (MOST_FIELDS + 1))


@given(st.integers(0, 2**63))
def test_encoded_numbers_are_decoded_to_the_same_value(value: int) -> None:
    data = encoded_varint(value)
    assert varint(data, 0) == (value, len(data))


def test_a_prefix_and_its_bytes_make_a_field() -> None:
    data = bytes(300)
    assert prefix(0x3A, 300) + data == field(0x3A, data)
    assert ModelInferRequest.FromString(field(0x3A, data)).raw_input_contents == [data]
