"""Persistent connections of HTTP/1.0, as ``ab -k`` and old proxies ask for them.

The client offers with ``Connection: keep-alive``; the server accepts with the same header, and then
the answer must tell its own length.
Source: RFC 9112, 9.3 and Appendix C.2.2
"""

from collections.abc import Iterable

Header = tuple[bytes, bytes]


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
