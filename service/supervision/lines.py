"""Encodes and decodes JSON lines on a socket."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Message = dict[str, Any]


def encoded(message: Mapping[str, Any]) -> bytes:
    """Encode a message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """An incremental decoder of messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add received data. Yield the messages that it completes."""
        self._rest += data
        *whole, rest = self._rest.split(b"\n") if b"\n" in data else (self._rest,)
        self._rest = bytearray(rest)
        for line in whole:
            yield json.loads(line)
