"""Values sent between two processes: a pickle, followed by its large buffers, without copies.

Each system call sends or receives a whole buffer, so that a thread with a large buffer needs the
GIL only a few times.
"""

import pickle
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from service.api.protocol.json_tensors import Buffer

MAX_BUFFERS = 2**16
MAX_BYTES = 2**33


class LineBroken(Exception):  # noqa: N818 - the name describes the state
    """The other process has ended, timed out, or sent invalid data."""


def send(line: socket.socket, value: Any) -> None:
    """Send a value.

    Raises:
        LineBroken: the other process has ended or timed out.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *[buffer.raw() for buffer in buffers]]
    lengths = struct.pack(f"<I{len(parts)}Q", len(parts), *[len(part) for part in parts])
    try:
        line.sendall(lengths)
        for part in parts:
            line.sendall(part)
    except OSError as error:
        raise LineBroken(str(error)) from None


def untouched(size: int) -> memoryview:
    """Return uninitialized memory. The kernel creates its pages when it writes to them.

    A bytearray would be filled with zeros while the GIL is held: 25 ms for 64 MiB.
    """
    return np.empty(size, np.uint8).data


def receive(line: socket.socket, room: Callable[[int], Buffer] = bytearray) -> Any:
    """Return the next value; ``room`` allocates its buffers. The other process is trusted.

    Raises:
        LineBroken: the other process has ended, timed out, or sent invalid data.
    """
    (count,) = struct.unpack("<I", _take(line, 4))
    if not 0 < count <= MAX_BUFFERS:
        raise LineBroken("the received data is not a valid message")
    lengths = struct.unpack(f"<{count}Q", _take(line, 8 * count))
    if sum(lengths) > MAX_BYTES:
        raise LineBroken("the received data is not a valid message")
    head, *buffers = [_take(line, length, room) for length in lengths]
    return _loaded(head, buffers)


def _loaded(head: Buffer, buffers: Sequence[Buffer]) -> Any:
    try:
        return pickle.loads(head, buffers=buffers)
    except Exception as error:
        raise LineBroken(
            f"the received data is not a valid message: {type(error).__name__}: {error}"
        ) from None


def _take(line: socket.socket, size: int, room: Callable[[int], Buffer] = bytearray) -> Buffer:
    whole = room(size)
    view = memoryview(whole)
    while view:
        try:
            count = line.recv_into(view, 0, socket.MSG_WAITALL)
        except OSError as error:
            raise LineBroken(str(error)) from None
        if not count:
            raise LineBroken("the line was closed")
        view = view[count:]
    return whole
