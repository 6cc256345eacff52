"""ASGI applications on connections of the server."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.api.http1.asgi_call import HIGH_WATER, App, ASGICall
from service.api.http1.driver import Route
from tests.api.http1.loopback import connected
from tests.system.wire import chunked, get, post

Send = Callable[[dict[str, Any]], Awaitable[None]]
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}


def asgi(app: Any) -> Route:
    made: App = app
    return lambda request, connection: ASGICall(made, {"a": 1}, request, connection)


async def ask(app: Any, *requests: bytes) -> bytes:
    """Return all bytes until the connection is closed."""
    async with connected(asgi(app)) as client:
        client.send(b"".join(requests))
        return await client.rest()


def last(request: bytes) -> bytes:
    return request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


async def test_the_scope_describes_the_request() -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], _: Any, send: Send) -> None:
        scopes.append(scope)
        await send(START)
        await send(BODY)

    assert (await ask(app, last(get("/a%20b/c?d=%20e")))).endswith(b"\r\n\r\nok")
    (scope,) = scopes
    assert (scope["path"], scope["raw_path"]) == ("/a b/c", b"/a%20b/c")
    assert scope["query_string"] == b"d=%20e" and scope["method"] == "GET"
    assert (scope["scheme"], scope["http_version"]) == ("http", "1.1")
    assert scope["headers"] == [(b"host", b"test"), (b"connection", b"close")]
    assert scope["client"][0] == scope["server"][0] == "127.0.0.1"
    assert scope["state"] == {"a": 1}


@pytest.mark.parametrize("url", ["http://test", "http://test?a=1"])
async def test_a_url_without_a_path_is_the_root(url: str) -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], _: Any, send: Send) -> None:
        scopes.append(scope)
        await send(START)
        await send(BODY)

    assert (await ask(app, last(get(url)))).endswith(b"\r\n\r\nok")
    assert (scopes[0]["path"], scopes[0]["raw_path"]) == ("/", b"/")


async def test_receive_returns_body_parts_and_then_waits_or_disconnects() -> None:
    messages: list[dict[str, Any]] = []

    async def app(_: Any, receive: Any, send: Send) -> None:
        messages.append(await receive())
        while messages[-1].get("more_body"):
            messages.append(await receive())
        await send(START)
        await send(BODY)
        messages.append(await receive())

    body = b"0123456789" * 20_000
    assert (await ask(app, last(chunked("/", body, size=7000)))).endswith(b"ok")
    assert b"".join(m.get("body", b"") for m in messages) == body
    assert [m["type"] for m in messages[-2:]] == ["http.request", "http.disconnect"]


async def test_an_application_that_does_not_read_pauses_the_client() -> None:
    go_on = asyncio.Event()

    async def app(_: Any, receive: Any, send: Send) -> None:
        await go_on.wait()
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
        text = b"%d" % size
        start = {**START, "headers": [(b"content-length", b"%d" % len(text))]}
        await send(start)
        await send({**BODY, "body": text})

    size = 64 * 2**20
    async with connected(asgi(app)) as client:
        client.send(last(post("/", bytes(size))))
        for _ in range(20):
            await asyncio.sleep(0.01)
        (connection,) = client.host.connections
        assert not connection.transport.is_reading()
        assert len(next(iter(connection._connection.requests)).receiver._body) < 2**20 + HIGH_WATER
        go_on.set()
        assert (await client.rest()).endswith(b"\r\n\r\n%d" % size)


async def test_continue_is_sent_when_the_application_reads_the_body() -> None:
    async def app(_: Any, receive: Any, send: Send) -> None:
        await receive()
        await send(START)
        await send(BODY)

    async with connected(asgi(app)) as client:
        head, _, body = last(post("/", b"x", Expect="100-continue")).partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        assert (await client.rest()).startswith(b"HTTP/1.1 200")


async def test_replies_without_a_length_are_chunked() -> None:
    async def app(_: Any, __: Any, send: Send) -> None:
        await send({**START, "headers": []})
        await send({**BODY, "more_body": True})
        await send({**BODY, "body": b""})

    said = await ask(app, get("/"), last(get("/")))
    assert said.count(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n") == 2


async def raises(_: Any, __: Any, ___: Send) -> None:
    raise ValueError("a secret")


async def raises_late(_: Any, __: Any, send: Send) -> None:
    await send(START)
    raise ValueError("a secret")


async def says_nothing(_: Any, __: Any, ___: Send) -> None: ...


async def says_too_much(_: Any, __: Any, send: Send) -> None:
    await send(START)
    await send({**BODY, "body": b"okay"})


async def says_too_little(_: Any, __: Any, send: Send) -> None:
    await send(START)
    await send({**BODY, "body": b"o"})


async def says_it_twice(_: Any, __: Any, send: Send) -> None:
    await send(START)
    await send(START)


async def begins_with_the_body(_: Any, __: Any, send: Send) -> None:
    await send(BODY)


async def splits_the_reply(_: Any, __: Any, send: Send) -> None:
    await send({**START, "headers": [(b"a", b"b\r\nc: d")]})


@pytest.mark.parametrize("app", [raises, says_nothing, begins_with_the_body, splits_the_reply])
async def test_an_application_that_fails_before_its_reply_gives_500(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    said = await ask(app, get("/"), get("/"))
    assert said.startswith(b"HTTP/1.1 500") and said.count(b"HTTP/1.1") == 1
    assert b"secret" not in said and b"connection: close" in said
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("app", [raises_late, says_too_much, says_too_little, says_it_twice])
async def test_an_application_that_fails_during_its_reply_closes_the_connection(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    said = await ask(app, get("/"), get("/"))
    assert said.startswith(b"HTTP/1.1 200") and said.count(b"HTTP/1.1") == 1
    assert len(said.partition(b"\r\n\r\n")[2]) < 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_messages_after_a_disconnect_are_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = asyncio.Event()

    async def app(_: Any, receive: Any, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await send(START)
        await send(BODY)
        ended.set()

    async with connected(asgi(app)) as client:
        client.send(get("/"))
        await asyncio.sleep(0.05)
        client.reset()
        await asyncio.wait_for(ended.wait(), 20)
        while client.host.tasks:
            await asyncio.sleep(0.01)
    assert not caplog.records
