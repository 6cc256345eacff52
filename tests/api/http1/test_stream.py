"""Replies that are sent in parts, at the client's pace."""

import asyncio

from service.api.http1.driver import HTTPProtocol
from service.api.http1.request import Request
from tests.api.http1.loopback import Streaming, connected
from tests.system.wire import get

PART = bytes(2**16)


def last(request: bytes) -> bytes:
    return request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


async def test_parts_are_sent_as_they_are_written() -> None:
    go_on = asyncio.Event()

    async def work(request: Request, connection: HTTPProtocol) -> None:
        stream = connection.stream(request, 200, [(b"content-type", b"text/plain")])
        await stream.write(b"one")
        await go_on.wait()
        await stream.write(b"")
        await stream.write(memoryview(b"two"))
        stream.end()

    async with connected(lambda *who: Streaming(work, *who)) as client:
        client.send(get("/") + last(get("/")))
        said = await client.reader.readuntil(b"one\r\n")
        assert b"date: today\r\ncontent-type: text/plain\r\n" in said
        assert said.endswith(b"3\r\none\r\n")
        go_on.set()
        rest = await client.rest()
        assert rest.startswith(b"3\r\ntwo\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert rest.endswith(b"\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_writes_wait_for_a_client_that_does_not_read() -> None:
    written = 0

    async def work(request: Request, connection: HTTPProtocol) -> None:
        nonlocal written
        stream = connection.stream(request, 200, [])
        for _ in range(1000):
            await stream.write(PART)
            written += 1
        stream.end()

    async with connected(lambda *who: Streaming(work, *who)) as client:
        client.send(last(get("/")))
        held = -1
        while held != written:  # until the buffers of both sides are full
            held = written
            await asyncio.sleep(0.1)
        assert held < 1000
        connection = next(iter(client.host.connections))
        assert connection.transport.get_write_buffer_size() <= 3 * len(PART)
        said = await client.rest()
        assert said.count(b"\0") == 1000 * len(PART) and written == 1000


async def test_a_disconnect_ends_the_wait_for_a_write() -> None:
    receivers, ended = [], asyncio.Event()

    async def work(request: Request, connection: HTTPProtocol) -> None:
        stream = connection.stream(request, 200, [])
        while not stream.disconnected:
            await stream.write(PART)
        stream.end()
        stream.abort()
        ended.set()

    def route(request: Request, connection: HTTPProtocol) -> Streaming:
        receivers.append(Streaming(work, request, connection))
        return receivers[0]

    async with connected(route) as client:
        client.send(get("/"))
        await client.reader.readexactly(10)
        client.reset()
        await asyncio.wait_for(ended.wait(), 20)
        assert receivers[0].disconnected


async def test_an_incomplete_reply_closes_the_connection() -> None:
    async def work(request: Request, connection: HTTPProtocol) -> None:
        stream = connection.stream(request, 200, [])
        await stream.write(b"one")
        stream.abort()

    async with connected(lambda *who: Streaming(work, *who)) as client:
        client.send(get("/") + get("/"))
        said = await client.rest()
        assert said.endswith(b"3\r\none\r\n") and said.count(b"HTTP/1.1") == 1


async def test_an_http_1_0_reply_without_a_length_ends_with_the_connection() -> None:
    async def work(request: Request, connection: HTTPProtocol) -> None:
        stream = connection.stream(request, 200, [])
        await stream.write(b"one")
        await stream.write(b"two")
        stream.end()

    async with connected(lambda *who: Streaming(work, *who)) as client:
        client.send(get("/").replace(b"1.1\r\n", b"1.0\r\nConnection: keep-alive\r\n"))
        assert (await client.rest()).endswith(b"\r\n\r\nonetwo")
