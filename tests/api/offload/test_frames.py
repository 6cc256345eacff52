"""Values between two processes."""

import pickle
import socket
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from service.api.offload.frames import MAX_BUFFERS, MAX_BYTES, LineBroken, receive, send, untouched

Line = tuple[socket.socket, socket.socket]


@pytest.fixture
def line() -> Iterator[Line]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize("value", [None, {"a": [1, "b"]}, (True, b"x" * 1000)])
def test_a_value_arrives(line: Line, value: object) -> None:
    send(line[0], value)
    assert receive(line[1]) == value


def test_large_buffers_are_received_into_the_room_that_is_given(line: Line) -> None:
    array = np.arange(2**20, dtype=np.float32)
    sender = threading.Thread(target=send, args=(line[0], array))
    sender.start()
    rooms: list[int] = []

    def room(size: int) -> memoryview:
        rooms.append(size)
        return untouched(size)

    assert np.array_equal(receive(line[1], room), array)
    sender.join()
    assert array.nbytes in rooms


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("<I", 0),
        struct.pack("<I", MAX_BUFFERS + 1),
        struct.pack("<IQ", 1, MAX_BYTES + 1),
        struct.pack("<IQ", 1, 3) + b"abc",
        struct.pack("<IQ", 1, 3) + b"a",
        b"\1",
    ],
)
def test_what_is_no_message_is_told(line: Line, sent: bytes) -> None:
    line[0].sendall(sent)
    line[0].close()
    with pytest.raises(LineBroken):
        receive(line[1])


def test_an_other_side_that_is_gone_is_told(line: Line) -> None:
    line[1].close()
    with pytest.raises(LineBroken):
        for _ in range(100):
            send(line[0], pickle.PickleBuffer(bytes(2**16)))
