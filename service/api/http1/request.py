"""A request while it is received."""

from typing import Protocol

Header = tuple[bytes, bytes]


class Receiver(Protocol):
    """What answers a request: an inference call, or the ASGI application."""

    def receive(self, chunk: bytes | bytearray, complete: bool) -> None:
        """Take the part of the body that was received since the last call, if any; ``complete``
        with the last one."""

    def time_out(self) -> None:
        """The body was not received within ``Request.body_timeout``: reply with an error."""

    def disconnect(self) -> None:
        """The client disconnected. No reply can be sent."""

    def stop(self) -> None:
        """The server stops: reply with an error."""


class Request:
    """The head of a request, as much of its body as its receiver has not taken yet, and how far the
    reply is. Header names are in lower case.

    What is not known at first stands in the class, since one is made for every request.
    """

    keep_alive = False
    """Whether the client and the server go on with the connection after the reply."""
    body: bytes | bytearray = b""
    complete = False
    has_news = True
    """Whether the receiver has not been told of all that was received."""
    handed_over = 0.0
    """When the receiver got the request, in seconds of the connection's clock."""
    body_timeout: float | None = None
    """Seconds, after ``handed_over``, for the whole body to be received; set by the receiver."""
    receiver: Receiver | None = None
    reply_begun = False
    reply_complete = False

    def __init__(self, method: bytes, url: bytes, version: str, headers: list[Header]) -> None:
        self.method = method
        self.url = url
        self.version = version
        """Of HTTP: "1.1" or "1.0"."""
        self.headers = headers

    @property
    def continue_expected(self) -> bool:
        """Whether the client waits for "100 Continue" before it sends the body. One of HTTP/1.0
        would take it for the reply."""
        expected = [value.lower() for name, value in self.headers if name == b"expect"]
        return self.version != "1.0" and b"100-continue" in expected
