"""Values between two processes: a pickle, and the large buffers of it behind it, uncopied.

Each call into the kernel takes a buffer as a whole, so that a thread with a large one needs the
interpreter a few times only.
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


class LineBroken(Exception):  # noqa: N818 - told as what it means
    """The other process has ended, takes too long, or sends invalid data."""


def send(line: socket.socket, value: Any) -> None:
    """Send a value.

    Raises:
        LineBroken: see there.
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
    """Memory whose pages the kernel makes when it writes to them: a bytearray is filled with zeros
    while the interpreter is held, 25 ms for 64 MiB."""
    return np.empty(size, np.uint8).data


def receive(line: socket.socket, room: Callable[[int], Buffer] = bytearray) -> Any:
    """The value that comes next; its buffers are in ``room``. The other side is trusted.

    Raises:
        LineBroken: see there.
    """
    (count,) = struct.unpack("<I", _take(line, 4))
    if not 0 < count <= MAX_BUFFERS:
        raise LineBroken("what came is no message")
    lengths = struct.unpack(f"<{count}Q", _take(line, 8 * count))
    if sum(lengths) > MAX_BYTES:
        raise LineBroken("what came is no message")
    head, *buffers = [_take(line, length, room) for length in lengths]
    return _loaded(head, buffers)


def _loaded(head: Buffer, buffers: Sequence[Buffer]) -> Any:
    try:
        return pickle.loads(head, buffers=buffers)
    except Exception as error:
        raise LineBroken(f"what came is no message: {type(error).__name__}: {error}") from None


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
