"""One connection to the worker of a model: requests and answers pass unchanged, however the bytes
are cut."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.transport.body import ClientGone
from service.core.errors import MalformedRequest
from service.workers.line import Line, Lost

WHOLE = b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 5\r\nx: y\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Line, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A line, and the worker's end of it."""
    ours, theirs = socket.socketpair()
    line = Line(*await asyncio.open_unix_connection(sock=ours))
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    try:
        yield line, reader, writer
    finally:
        line.close()
        writer.close()


def asked(*parts: bytes, method: str = "POST", **more: Any) -> tuple[Any, Any]:
    """Return the scope of a request, and a callable that returns its body in parts."""
    headers = [(b"host", b"a"), (b"content-length", b"%d" % sum(map(len, parts)))]
    scope = {"method": method, "raw_path": b"/p%20q", "query_string": b"", "headers": headers}
    left = list(parts)

    async def receive() -> Any:
        if not left:
            return await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    return {**scope, **more}, receive


async def answer_of(line: Line) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await line.answer(send)
    return sent


def body_of(messages: Sequence[Any]) -> bytes:
    assert [each["more_body"] for each in messages[1:]] == [True] * (len(messages) - 2) + [False]
    return b"".join(each["body"] for each in messages[1:])


async def test_a_request_is_sent_with_its_headers_and_body() -> None:
    headers = [
        (b"host", b"a"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"expect", b"100-continue"),
        (b"x-bin", b"\x00"),
        (b"x-mine", b"\xe9"),
    ]
    async with connected() as (line, reader, _):
        scope, receive = asked(
            b"one", b"two", headers=headers, query_string=b"a=b", client=("::1", 9)
        )
        asking = asyncio.ensure_future(line.ask(scope, receive))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"POST /p%20q?a=b HTTP/1.1\r\n")
        lines = set(head.lower().split(b"\r\n")[1:])
        assert lines == {
            b"host: a",
            b"transfer-encoding: chunked",
            b"x-mine: \xe9",
            b"x-quantserve-client: ::1 9",
            b"",
        }
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        asking.cancel()


@given(st.sampled_from([WHOLE, CHUNKED]), st.lists(st.integers(1, 90), max_size=6))
def test_an_answer_passes_however_it_is_cut(answer: bytes, cuts: list[int]) -> None:
    async def pass_on() -> None:
        async with connected() as (line, reader, writer):
            scope, receive = asked(b"")
            asking = asyncio.ensure_future(line.ask(scope, receive))
            answering = asyncio.ensure_future(answer_of(line))
            await reader.readuntil(b"\r\n\r\n")
            last = 0
            for cut in [*sorted(cuts), len(answer)]:
                writer.write(answer[last:cut])
                last = max(last, cut)
                await asyncio.sleep(0)
            found = await answering
            assert found[0]["status"] in (200, 201) and body_of(found) == b"hello"
            assert not {b"date", b"transfer-encoding"} & {name for name, _ in found[0]["headers"]}
            asking.cancel()
            assert line.renew() and line.usable(60)

    asyncio.run(pass_on())


async def test_an_answer_in_one_packet_is_sent_in_one_part() -> None:
    async with connected() as (line, _, writer):
        scope, receive = asked(b"")
        asking = asyncio.ensure_future(line.ask(scope, receive))
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE)
        assert len(await answer_of(line)) == 2
        asking.cancel()


async def test_an_answer_to_head_has_no_body() -> None:
    async with connected() as (line, _, writer):
        scope, receive = asked(b"", method="HEAD")
        asking = asyncio.ensure_future(line.ask(scope, receive))
        writer.write(WHOLE[:-5])
        assert body_of(await answer_of(line)) == b""
        asking.cancel()
        assert line.renew()


@pytest.mark.parametrize("size", [0, 10, len(WHOLE) - 1])
async def test_a_worker_that_ends_is_noticed(size: int) -> None:
    async with connected() as (line, _, writer):
        scope, receive = asked(b"")
        asking = asyncio.ensure_future(line.ask(scope, receive))
        writer.write(WHOLE[:size])
        writer.close()
        with pytest.raises(Lost):
            await answer_of(line)
        assert line.answered is (size == len(WHOLE) - 1)
        asking.cancel()
        assert not line.renew() and not line.usable(60)


async def test_bytes_that_are_not_http_count_as_the_end() -> None:
    async with connected() as (line, _, writer):
        scope, receive = asked(b"")
        asking = asyncio.ensure_future(line.ask(scope, receive))
        writer.write(b"nonsense\r\n\r\n")
        with pytest.raises(Lost):
            await answer_of(line)
        asking.cancel()


async def test_a_client_that_disconnects_ends_the_request() -> None:
    async with connected() as (line, _, _):
        scope, _ = asked(b"")
        messages = iter([{"type": "http.request", "body": b""}, {"type": "http.disconnect"}])

        async def receive() -> Any:
            return next(messages)

        with pytest.raises(ClientGone):
            await line.ask(scope, receive)


async def test_a_request_that_cannot_be_passed_on_is_malformed() -> None:
    async with connected() as (line, _, _):
        scope, receive = asked(b"", headers=[(b"a b", b"c")])
        with pytest.raises(MalformedRequest):
            await line.ask(scope, receive)


async def test_an_idle_line_is_not_used_for_ever() -> None:
    async with connected() as (line, _, _):
        assert line.usable(60) and not line.usable(0)


async def test_the_head_is_sent_before_the_body_has_arrived() -> None:
    async with connected() as (line, reader, _):
        scope, receive = asked()
        asking = asyncio.ensure_future(line.ask(scope, receive))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"POST /p%20q HTTP/1.1\r\n")
        asking.cancel()
