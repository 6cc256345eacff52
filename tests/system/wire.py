"""HTTP as bytes on a socket: requests that no client library would send, and their answers."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.patience import PATIENCE, until


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON of the body, without raw tensors that follow."""
        length = self.headers.get("inference-header-content-length")
        return json.loads(self.body[: int(length)] if length else self.body)

    @property
    def error(self) -> str:
        """The text of an error."""
        assert set(self.json) == {"error"}, self.body
        text: str = self.json["error"]
        return text


class Line:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self.socket.close()

    def ask(self, request: bytes) -> Answer:
        """Send a request and read an answer."""
        self.socket.sendall(request)
        return self.read(bodiless=request.startswith(b"HEAD"))

    def read(self, bodiless: bool = False) -> Answer:
        """Read the next answer. Interim answers (100 Continue) are skipped."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if status == 100:
            return self.read(bodiless)
        size = 0 if bodiless or status == 204 else int(headers["content-length"])
        return Answer(status, headers, self._file.read(size))

    def at_end(self) -> bool:
        """True if the server closed the connection without further data."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True


def free_port() -> int:
    """Return a port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_listener(port: int) -> None:
    """Wait until a process listens on the port."""

    def listening() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True

    until(listening, f"nobody listens on port {port}")


def post(path: str, body: bytes, method: str = "POST", **headers: str) -> bytes:
    """Return a request with Content-Length. ``_`` in the name of a header means ``-``."""
    return _head(method, path, {"Content-Length": str(len(body)), **_named(headers)}) + body


def chunked(path: str, body: bytes, size: int = 1000, **headers: str) -> bytes:
    """Return a request with a chunked body."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return _head("POST", path, {"Transfer-Encoding": "chunked", **_named(headers)}) + (
        coded + b"0\r\n\r\n"
    )


def get(path: str, method: str = "GET") -> bytes:
    """Return a request without a body."""
    return _head(method, path, {})


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: test"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()
