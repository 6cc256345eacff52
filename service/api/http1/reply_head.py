"""The status line and the headers of a reply, and the framing of its body. Source: RFC 9112, 6."""

import re
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from functools import lru_cache
from http import HTTPStatus

import orjson

from service.api.http1.request import Header, Request
from service.api.transport.answers import CLOSE

CLOSE_LINE = b"connection: close\r\n"
KEEP_ALIVE_LINE = b"connection: keep-alive\r\n"
BODILESS = frozenset({204, 304})
"""Statuses of replies without a body."""
NOT_IN_NAMES = re.compile(rb'[\x00-\x20\x7f()<>@,;:\[\]={}\\"]')
NOT_IN_VALUES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
JSON_HEAD = b"content-type: application/json\r\n"


STATUS_LINES = {each.value: f"HTTP/1.1 {each} {each.phrase}\r\n".encode() for each in HTTPStatus}
"""Status lines of the statuses that have a name; see ``status_line``."""


class Framing(Enum):
    """How a client finds the end of a reply's body."""

    NONE = auto()
    """There is no body."""
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()
    """For HTTP/1.0, which has no chunked coding."""


def status_line(status: int) -> bytes:
    """Return the first line of a reply."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def joined(headers: Iterable[Header]) -> bytes:
    """Return headers as lines."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


@lru_cache(maxsize=256)
def lines_of(headers: tuple[Header, ...]) -> tuple[bytes, bool]:
    """Return the headers of an answer as lines, without ``connection: close``, and whether it is
    among them. They are cached, because most answers have the same headers."""
    kept = [header for header in headers if header != CLOSE]
    return joined(kept), len(kept) < len(headers)


def connection_line(request: Request) -> bytes:
    """Return the header ``connection`` of a reply; empty if the default of the request's HTTP
    version applies."""
    if not request.keep_alive:
        return CLOSE_LINE
    return KEEP_ALIVE_LINE if request.head.version == "1.0" else b""


def begin(
    request: Request, status: int, headers: Sequence[Header], defaults: bytes
) -> tuple[bytes, Framing]:
    """Return the head of a reply whose body follows, and the framing of the body. Set
    ``request.keep_alive`` to False if the connection must be closed.

    ``defaults`` are the header lines of all replies.

    Raises:
        ValueError: a header has bytes that are not allowed in a name or a value.
    """
    framing = Framing.CHUNKED
    lines = [status_line(status), defaults]
    for name, value in headers:
        if NOT_IN_NAMES.search(name) or NOT_IN_VALUES.search(value):
            raise ValueError(f"the reply has the header {name!r}: {value!r}")
        name = name.lower()
        if name == b"content-length":
            framing = Framing.LENGTH
        elif name == b"transfer-encoding":
            continue  # decided below
        elif name == b"connection":
            if b"close" in value.lower():
                request.keep_alive = False
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
    if request.head.method == b"HEAD" or status in BODILESS:
        framing = Framing.NONE
    elif framing is Framing.CHUNKED and request.head.version == "1.0":
        framing, request.keep_alive = Framing.UNTIL_CLOSE, False
    elif framing is Framing.CHUNKED:
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(connection_line(request))
    lines.append(b"\r\n")
    return b"".join(lines), framing


def refusal(status: int, error: str, defaults: bytes) -> bytes:
    """Return a whole error reply, after which the connection is closed."""
    body = orjson.dumps({"error": error})
    length = b"content-length: %d\r\n\r\n" % len(body)
    return b"".join([STATUS_LINES[status], defaults, JSON_HEAD, CLOSE_LINE, length, body])
