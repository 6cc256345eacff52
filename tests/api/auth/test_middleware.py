"""Routes that change something need an admin key, however their path is written."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.app import Server
from service.config.settings import Settings
from tests.api.control.test_upload import Message
from tests.repositories import put, scale

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY")
READING = {"GET", "HEAD", "OPTIONS"}
ASKING = {"/v2/repository/index", "/v2/repository/models/index"}
"""Paths of POST requests that change nothing."""
REFUSING = ("/v2/systemsharedmemory", "/v2/cudasharedmemory")
"""Paths that refuse every request, with any key."""
TAILS = (
    "\n", "\n\n", "\r", "\r\n", "\t", "\v", "\f", "\0", " ", "  ", "/", "//", "/.", "/..", "/./",
    "/../", ";", ";x=1", "#", "?", "?x", "%0a", "%0A", "%00", "%2f", "%20", "%", "\\", "\x1c",
    "\x85", "\u2028", "\u2029", "\ufeff", "\u200b", "*", ".json", "&", "=", "+", "~", "'", '"',
    "\x7f", "\xa0",
)  # fmt: skip


def tricks(path: str) -> Iterator[str]:
    """The path, and variants of it that some part of a server might treat as the same path."""
    yield path
    yield from (path + tail for tail in TAILS)
    yield from ("/" + path, "/." + path, "/x/.." + path, path.upper(), path.title(), path[1:])
    yield from (path.replace("/", each) for each in ("//", "/./", "\\", "%2f", "/\n", "/;/"))
    yield from ("http://127.0.0.1" + path, "\n" + path, " " + path, path.replace("v2", "v2\n"))


@pytest.fixture
def app(tmp_path: Path) -> Server:
    put(tmp_path, "m", 1, scale(1))
    put(tmp_path, "m", 2, scale(2))
    return Server(Settings.model_validate({"models": tmp_path, "admin_key": "k"}), lambda _: None)


async def ask(app: Server, method: str, path: str, key: str = "") -> tuple[int, Any]:
    """Status and document."""
    sent: list[Message] = []
    bodies = [{"type": "http.request", "body": b"{}"}]

    async def receive() -> Message:
        return bodies.pop() if bodies else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": b"", "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8000),
        "headers": [(b"host", b"127.0.0.1"), (b"x-api-key", key.encode())],
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:])


async def routes(app: Server) -> dict[str, set[str]]:
    """The methods of every path, with names filled in, from the server's own description."""
    _, text = await ask(app, "GET", "/openapi.json", "k")
    named = {"{name}": "m", "{version}": "1", "{repository_name}": "models"}
    found: dict[str, set[str]] = {"/admin/models/m/versions": {"PUT"}}
    for path, operations in json.loads(text)["paths"].items():
        for mark, value in named.items():
            path = path.replace(mark, value)
        found.setdefault(path, set()).update(method.upper() for method in operations)
    return {
        path: methods for path, methods in found.items() if not path.endswith(("infer", "predict"))
    }


async def test_no_variant_of_a_path_reaches_a_change_without_a_key(app: Server) -> None:
    known = await routes(app)
    before = logging.getLogger().level
    assert len(list(tricks("/v2/x"))) >= 60
    for path in known:
        for method in METHODS:
            for trick in tricks(path):
                status, body = await ask(app, method, trick)
                reads = method in READING or path in ASKING
                assert reads or status >= 400, (method, trick, status, body)
    assert logging.getLogger().level == before
    assert all(not model.versions for model in app.repository)


async def test_every_route_that_changes_something_needs_a_key(app: Server) -> None:
    for path, methods in (await routes(app)).items():
        for method in methods - READING:
            status, _ = await ask(app, method, path)
            assert (status == 401) is (path not in ASKING), (method, path, status)
            wrong, _ = await ask(app, method, path, "wrong")
            assert (wrong == 401) is (path not in ASKING), (method, path, status)


async def test_admin_routes_that_only_read_need_the_key_as_well(app: Server) -> None:
    for path, methods in (await routes(app)).items():
        if path.startswith("/admin/"):
            for method in methods:
                status, _ = await ask(app, method, path)
                assert status == 401, (method, path)


async def test_the_log_level_cannot_be_changed_by_a_path_that_ends_in_a_newline(
    app: Server,
) -> None:
    for path in ("/v2/logging\n", "/v2/trace/setting\n", "/v2/models/m/trace/setting\n"):
        assert (await ask(app, "POST", path))[0] == 404
        assert (await ask(app, "POST", path, "k"))[0] == 404
    assert (await ask(app, "POST", "/v2/logging", "k"))[0] == 200
    await asyncio.sleep(0)
