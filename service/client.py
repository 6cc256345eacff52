"""A client for a running server over HTTP. It uses the standard library only and prints nothing.

Keys are sent in headers only.
"""

import json
import select
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from io import SEEK_END
from pathlib import Path
from ssl import SSLSocket
from threading import Thread
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from service.core.errors import ConfigError

CONNECT_TIMEOUT = 10.0
CONTINUE_TIMEOUT = 1.0
"""Seconds to wait for ``100 Continue`` before a large body is sent, as curl does."""
BLOCK = 2**20
GRACE = 0.2
"""Seconds to wait after the answer for the last events, which arrive on another connection."""

Document = dict[str, Any]
Tell = Callable[[str, Document], None]


class Unreachable(Exception):
    """No server answers, or the connection was lost."""


class Refused(Exception):
    """The server refused the request."""

    def __init__(self, status: int, document: Document) -> None:
        super().__init__(document.get("error") or f"the server answered {status}")
        self.status = status
        self.document = document


@dataclass(frozen=True, slots=True)
class Client:
    """A server's address, and the key to send; an empty key is not sent."""

    url: str
    key: str = field(default="", repr=False)

    def get(self, path: str) -> Document:
        """Get a document.

        Raises:
            Unreachable, Refused
        """
        with self._connected() as connection:
            connection.request("GET", self._target(path), headers=self.headers)
            return _document(connection.getresponse())

    def post(self, path: str, document: Document) -> Document:
        """Send a document. Return the answer's document.

        Raises:
            Unreachable, Refused
        """
        body = json.dumps(document).encode()
        with self._connected() as connection:
            headers = {**self.headers, "Content-Type": "application/json"}
            connection.request("POST", self._target(path), body, headers)
            return _document(connection.getresponse())

    def upload(
        self, path: str, query: Mapping[str, str], kind: str, parts: Sequence[bytes | Path]
    ) -> Document:
        """Send a body with Content-Type ``kind`` without reading its files into memory. Return the
        answer's document. ``parts`` are the parts of the body in order: bytes, and whole files.

        Raises:
            Unreachable, Refused
            ConfigError: a file cannot be read, or changes meanwhile.
        """
        sizes = [_size(part) for part in parts]
        with self._connected() as connection:
            connection.putrequest("POST", f"{self._target(path)}?{urlencode(query)}")
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(sum(sizes)))
            connection.putheader("Content-Type", kind)
            connection.putheader("Expect", "100-continue")
            connection.endheaders()
            _await_continue(connection.sock)
            for part, size in zip(parts, sizes, strict=True):
                for block in _blocks(part, size):
                    # An answer before the end means that the rest of the body is not read.
                    if _is_readable(connection.sock, 0):
                        return _document(connection.getresponse())
                    connection.send(block)
            return _document(connection.getresponse())

    @contextmanager
    def watching(self, path: str, tell: Tell) -> Iterator[None]:
        """Report the server's events as they arrive, until the context ends.

        Nothing is reported if the server has no events.

        Raises:
            Unreachable
        """
        with self._connected() as connection:
            connection.request("GET", self._target(path), headers=self.headers)
            line: socket.socket = connection.sock
            response = connection.getresponse()
            if response.status != 200:
                yield
                return
            reader = Thread(target=_read_events, args=(response, tell), daemon=True)
            reader.start()
            try:
                yield
            finally:
                reader.join(GRACE)
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
                reader.join()

    @property
    def headers(self) -> dict[str, str]:
        """The headers that contain the key."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def _target(self, path: str) -> str:
        return urlsplit(self.url).path.rstrip("/") + path

    @contextmanager
    def _connected(self) -> Iterator[HTTPConnection]:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{self.url}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"{self.url} is not the address of a server: expected http://host:port"
            )
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname, port, timeout=CONNECT_TIMEOUT)
        try:
            connection.connect()
            connection.sock.settimeout(None)  # loading a large model takes a long time
            yield connection
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(f"no answer from {self.url}: {why}") from error
        finally:
            connection.close()


def model_path(model: str, verb: str) -> str:
    """Return the path of an admin operation on a model."""
    return f"/admin/models/{quote(model, safe='')}/{verb}"


def parse_events(lines: Iterable[bytes]) -> Iterator[tuple[str, Document]]:
    """Parse server-sent events with JSON data. Yield (event, data).

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    event, data = "", list[str]()
    for line in lines:
        name, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif not name and not value:
            if data:
                yield event or "message", json.loads("\n".join(data))
            event, data = "", []


def _size(part: bytes | Path) -> int:
    if isinstance(part, bytes):
        return len(part)
    with _opened(part) as file:
        return file.seek(0, SEEK_END)


def _blocks(part: bytes | Path, size: int) -> Iterator[bytes]:
    """Yield the announced number of bytes of a part, piece by piece."""
    if isinstance(part, bytes):
        yield part
        return
    with _opened(part) as file:
        while size and (block := file.read(min(BLOCK, size))):
            size -= len(block)
            yield block
    if size:
        raise ConfigError(f"{part} was cut short while it was sent: {size} bytes are missing")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _read_events(response: HTTPResponse, tell: Tell) -> None:
    try:
        for event, data in parse_events(response):
            tell(event, data)
    except (OSError, HTTPException, ValueError, AttributeError):
        return  # the connection was closed by either side; the request for the answer reports it


def _await_continue(line: socket.socket) -> None:
    """Wait for ``100 Continue``; a server that does not send it gets the body anyway."""
    if isinstance(line, SSLSocket) or not _is_readable(line, CONTINUE_TIMEOUT):
        return  # encrypted data cannot be peeked at
    if line.recv(12, socket.MSG_PEEK)[9:12] == b"100":
        head = b""
        while not head.endswith(b"\r\n\r\n") and (byte := line.recv(1)):
            head += byte


def _is_readable(line: socket.socket, seconds: float) -> bool:
    return bool(select.select([line], [], [], seconds)[0])


def _document(response: HTTPResponse) -> Document:
    text = response.read()
    try:
        document = json.loads(text or b"{}")
    except ValueError:
        document = {"error": f"the answer is not JSON (status {response.status})"}
    if not isinstance(document, dict):
        document = {"answer": document}
    if response.status >= 300:
        raise Refused(response.status, document)
    return document
