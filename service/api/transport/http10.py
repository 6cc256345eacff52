"""Persistent connections of HTTP/1.0, as ``ab -k`` and old proxies ask for them.

The client offers with ``Connection: keep-alive``; the server accepts with the same header, and then
the answer must tell its own length. uvicorn closes after every answer to HTTP/1.0.
Source: RFC 9112, 9.3 and Appendix C.2.2
"""

from collections.abc import Iterable, MutableMapping
from typing import Any

Header = tuple[bytes, bytes]
KEEP_ALIVE = (b"connection", b"keep-alive")
BODILESS = frozenset({204, 304})


def offers_keep_alive(headers: Iterable[Header]) -> bool:
    """Whether the client of a request in HTTP/1.0 can go on with the connection.

    Not after a chunked body: whoever is between may have read its end elsewhere (RFC 9112, 6.1).
    """
    options: set[bytes] = set()
    for name, value in headers:
        if name == b"transfer-encoding":
            return False
        if name == b"connection":
            options.update(option.strip() for option in value.lower().split(b","))
    return b"keep-alive" in options and b"close" not in options


def keep_open(cycle: Any) -> None:
    """Let uvicorn's cycle of request and response accept the offer, if its answer allows it."""
    send = cycle.send
    cycle.keep_alive = True

    async def accept(message: MutableMapping[str, Any]) -> None:
        # uvicorn closes where an answer says so, or where it has begun to stop.
        if message["type"] == "http.response.start" and cycle.keep_alive:
            headers = list(message.get("headers", ()))
            if not any(name.lower() == b"connection" for name, _ in headers):
                headers.append(KEEP_ALIVE if _ends(message) else (b"connection", b"close"))
            message = {**message, "headers": headers}
        await send(message)

    cycle.send = accept


def _ends(message: MutableMapping[str, Any]) -> bool:
    """Whether the client can tell where the answer ends: HTTP/1.0 knows no chunks."""
    if message["status"] in BODILESS:
        return True
    return any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
