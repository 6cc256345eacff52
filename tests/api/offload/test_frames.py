"""Values are sent over a line with their buffers, or the line is reported as broken."""

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.offload import frames
from service.api.offload.frames import LineBroken, receive, send, untouched

Line = tuple[socket.socket, socket.socket]
ARRAYS = arrays.arrays(
    st.sampled_from([np.dtype(kind) for kind in ("float32", "int64", "bool", "uint8")]),
    arrays.array_shapes(min_dims=0, min_side=0, max_side=4),
)
VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.binary() | ARRAYS,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=6,
)
PATIENT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def line() -> Iterator[Line]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=True)
        return type(one) is type(other) and all(same(a, b) for a, b in pairs)
    return bool(one == other)


@PATIENT
@given(value=VALUES, bare=st.booleans())
def test_values_arrive_unchanged(line: Line, value: Any, bare: bool) -> None:
    send(line[0], value)
    assert same(value, receive(line[1], untouched if bare else bytearray))


def test_several_messages_may_be_sent_before_reading(line: Line) -> None:
    for value in ("first", np.arange(3), "last"):
        send(line[0], value)
    assert receive(line[1]) == "first"
    assert receive(line[1]).tolist() == [0, 1, 2]
    assert receive(line[1]) == "last"


def test_a_value_larger_than_the_buffer_of_the_line_arrives(line: Line) -> None:
    array = np.arange(2**20)
    sender = threading.Thread(target=send, args=(line[0], array))
    sender.start()
    assert np.array_equal(receive(line[1], untouched), array)
    sender.join()


def test_only_buffers_are_received_into_the_given_memory(line: Line) -> None:
    sizes: list[int] = []

    def room(size: int) -> bytearray:
        sizes.append(size)
        return bytearray(size)

    send(line[0], ("head", np.zeros(7), np.ones(3, np.uint8)))
    receive(line[1], room)
    assert sizes[1:] == [56, 3]


def test_received_arrays_are_writable(line: Line) -> None:
    send(line[0], np.zeros(4))
    found = receive(line[1])
    found += 1
    assert found.tolist() == [1, 1, 1, 1]


@PATIENT
@given(value=VALUES, data=st.data())
def test_a_truncated_message_is_a_broken_line(line: Line, value: Any, data: st.DataObject) -> None:
    send(line[0], value)
    whole = line[1].recv(2**20)
    one, other = socket.socketpair()
    with other:
        with one:
            one.sendall(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(LineBroken, match="the line was closed"):
            receive(other)


@pytest.mark.parametrize(
    "message",
    [
        struct.pack("<I", 0),
        struct.pack("<I", frames.MAX_BUFFERS + 1),
        struct.pack("<IQ", 1, frames.MAX_BYTES + 1),
        struct.pack("<IQ", 1, 5) + b"hello",
    ],
    ids=["no part", "too many parts", "too many bytes", "no pickle"],
)
def test_bytes_that_are_not_a_message_are_a_broken_line(line: Line, message: bytes) -> None:
    line[0].sendall(message)
    with pytest.raises(LineBroken, match="the received data is not a valid message"):
        receive(line[1])


def test_a_closed_or_silent_other_end_is_a_broken_line(line: Line) -> None:
    line[1].settimeout(0.01)
    with pytest.raises(LineBroken, match="timed out"):
        receive(line[1])
    line[1].close()
    with pytest.raises(LineBroken):
        send(line[0], bytes(2**20))
