"""A client of a running server over HTTP, with the standard library alone; prints nothing.

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
"""Seconds to wait for a server to say that it wants a large body, as curl does."""
BLOCK = 2**20
GRACE = 0.2
"""Seconds for the last events, which come on a line of their own, after the answer came."""

Document = dict[str, Any]
Tell = Callable[[str, Document], None]


class Unreachable(Exception):
    """There is no server, or the connection was lost."""


class Refused(Exception):
    """The server refused the request."""

    def __init__(self, status: int, document: Document) -> None:
        super().__init__(document.get("error") or f"the server answered {status}")
        self.status = status
        self.document = document


@dataclass(frozen=True, slots=True)
class Client:
    """A server's address, and the key to show it; an empty one is not shown."""

    url: str
    key: str = field(default="", repr=False)

    def get(self, path: str) -> Document:
        """Ask for a document.

        Raises:
            Unreachable, Refused
        """
        with self._connected() as connection:
            connection.request("GET", self._target(path), headers=self.headers)
            return _document(connection.getresponse())

    def post(self, path: str, document: Document) -> Document:
        """Send a document; gives the answer's.

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
        """Send a body of a Content-Type without reading its files into memory; gives the answer's
        document. ``parts`` are what the body consists of, in order: bytes, and whole files.

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
        """Report the server's events as they come, for as long as the context lasts.

        Nothing is reported where the server has no events.

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
        """Those that show the key."""
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
            connection.sock.settimeout(None)  # loading a large model takes long
            yield connection
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(f"no answer from {self.url}: {why}") from error
        finally:
            connection.close()


def model_path(model: str, verb: str) -> str:
    """The address of an admin verb on a model."""
    return f"/admin/models/{quote(model, safe='')}/{verb}"


def parse_events(lines: Iterable[bytes]) -> Iterator[tuple[str, Document]]:
    """Server-sent events with JSON for their data: (event, data).

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
    """As many bytes of a part as were announced, piece by piece."""
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
        return  # the line was closed, by us or the server: whoever waits for the answer is told


def _await_continue(line: socket.socket) -> None:
    """Wait for ``100 Continue``; a server that does not send it gets the body all the same."""
    if isinstance(line, SSLSocket) or not _is_readable(line, CONTINUE_TIMEOUT):
        return  # what comes encrypted cannot be looked at without being taken
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
