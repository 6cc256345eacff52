"""Persistent connections of HTTP/1.0, which ``ab -k`` and old proxies request.

The client offers one with ``Connection: keep-alive``. The server accepts with the same header; then
the reply must state its own length.
Source: RFC 9112, 9.3 and Appendix C.2.2
"""

from collections.abc import Iterable

Header = tuple[bytes, bytes]


def offers_keep_alive(headers: Iterable[Header]) -> bool:
    """Return True if the client of an HTTP/1.0 request offers to keep the connection open.

    Return False for a chunked body: a proxy may have framed it differently (RFC 9112, 6.1).
    """
    options: set[bytes] = set()
    for name, value in headers:
        if name == b"transfer-encoding":
            return False
        if name == b"connection":
            options.update(option.strip() for option in value.lower().split(b","))
    return b"keep-alive" in options and b"close" not in options
