"""A request while it is received."""

from typing import Protocol

Header = tuple[bytes, bytes]
VERSIONS = ("1.1", "1.0")
"""The versions of HTTP that are served without ASGI."""


class Receiver(Protocol):
    """The object that answers a request: an inference call, or the ASGI application."""

    def receive(self, chunk: bytes | bytearray, complete: bool) -> None:
        """Accept the part of the body that was received since the last call, which may be empty.
        ``complete`` is True for the last part."""

    def time_out(self) -> None:
        """Reply with an error: the body was not received within ``Request.body_timeout``."""

    def disconnect(self) -> None:
        """Handle that the client disconnected. No reply can be sent."""

    def stop(self) -> None:
        """Reply with an error: the server stops."""


class Head:
    """The head of a request. It does not change, and requests may share it."""

    __slots__ = (
        "body_bytes",
        "fields",
        "headers",
        "keep_alive",
        "method",
        "plain_post",
        "url",
        "version",
    )

    def __init__(
        self, method: bytes, url: bytes, version: str, headers: list[Header], keep_alive: bool
    ) -> None:
        self.method = method
        self.url = url
        self.version = version
        """The HTTP version: "1.1" or "1.0"."""
        self.headers = headers
        """Names, in lower case, and values."""
        self.keep_alive = keep_alive
        """True if the client keeps the connection open after the reply."""
        self.fields = fields = dict(headers)
        self.plain_post = (
            method == b"POST"
            and version in VERSIONS
            and b"expect" not in fields
            and b"content-encoding" not in fields
            and fields.get(b"transfer-encoding", b"chunked") == b"chunked"
            and len(fields) == len(headers)
        )
        """True if this is a POST of HTTP/1.1 or 1.0 whose body is sent at once and as it is, and no
        header appears twice."""
        self.body_bytes = int(fields.get(b"content-length", b"0"))  # the parser has checked it
        """The length of the body in bytes; 0 if the head does not have it."""

    @property
    def continue_expected(self) -> bool:
        """True if the client waits for "100 Continue" before it sends the body. False for HTTP/1.0:
        such a client would take "100 Continue" as the reply."""
        expected = [value.lower() for name, value in self.headers if name == b"expect"]
        return self.version != "1.0" and b"100-continue" in expected


class Request:
    """The head of a request, the part of its body that the receiver has not got yet, and the
    progress of the reply.

    Initial values are class attributes: this makes instances, one for each request, cheaper.
    """

    body: bytes | bytearray = b""
    complete = False
    has_news = True
    """True if something was received that the receiver has not got yet."""
    handed_over = 0.0
    """The time at which the receiver got the request, in seconds of the connection's clock."""
    body_timeout: float | None = None
    """Seconds, after ``handed_over``, for the whole body to be received; set by the receiver."""
    receiver: Receiver | None = None
    reply_begun = False
    reply_complete = False

    def __init__(self, head: Head) -> None:
        self.head = head
        self.keep_alive = head.keep_alive
        """True if the connection stays open after the reply."""
