"""The load generator with servers that stall, refuse, close connections and never answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from service.bench.loops import TIMEOUT, Load, ask_each, closed_loop, open_loop
from service.bench.wire import LOST, Server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b'HTTP/1.1 503 Busy\r\nContent-Length: 16\r\n\r\n{"error":"full"}'
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
Answer = Callable[[int], Awaitable[bytes]]
"""Gives the bytes that answer a request, by its number; none: the connection is closed."""


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[Server]:
    """A server on a free port."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(2)
                count += 1
                data = await answer(count - 1)
                writer.write(data)
                if not data or data is LAST:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Server.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()


def load(server: Server, seconds: float = 0.1, patience: float = 60.0) -> Load:
    return Load(server, [server.request("/x", {}, b"{}")], seconds, patience)


async def test_latency_counts_from_the_due_time_while_the_server_stalls() -> None:
    """Each request is answered after the first: from its due time, its latency is the first
    latency less the time between both."""
    late = asyncio.Event()

    async def answer(number: int) -> bytes:
        if not number:
            asyncio.get_running_loop().call_later(0.3, late.set)
            await late.wait()
        return OK

    async with answering(answer) as server:
        seen = await open_loop(load(server), 100, 1)
    assert len(seen.latencies) == 10
    assert not seen.errors
    for number, latency in enumerate(seen.latencies):
        assert latency + number / 100 >= seen.latencies[0] - 1e-6 > 0.29


@pytest.mark.parametrize("connections", [1, 3])
async def test_an_open_loop_sends_all_scheduled_requests(connections: int) -> None:
    async def answer(number: int) -> bytes:
        return BUSY if number % 4 == 3 else OK

    async with answering(answer) as server:
        seen = await open_loop(load(server), 200, connections)
    assert (len(seen.latencies), seen.errors) == (15, {"503": 5})
    assert seen.reasons == {"503": b'{"error":"full"}'}


async def test_each_client_of_a_closed_loop_waits_for_its_answer() -> None:
    now = most = 0

    async def answer(number: int) -> bytes:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return OK

    async with answering(answer) as server:
        seen = await closed_loop(load(server), 3)
    assert most <= 3
    assert len(seen.latencies) >= 3
    assert not seen.errors


async def test_a_closed_connection_is_opened_again() -> None:
    async def answer(number: int) -> bytes:
        return LAST if number % 2 else OK

    async with answering(answer) as server:
        seen = await open_loop(load(server), 200, 1)
    assert (len(seen.latencies), seen.errors) == (20, {})


async def test_a_request_without_an_answer_is_an_error() -> None:
    async def answer(number: int) -> bytes:
        return b"" if number == 2 else OK

    async with answering(answer) as server:
        seen = await open_loop(load(server), 100, 1)
    assert (len(seen.latencies), seen.errors) == (9, {LOST: 1})


@pytest.mark.parametrize("is_open", [True, False])
async def test_requests_that_are_never_answered_are_counted(is_open: bool) -> None:
    never = asyncio.Event()

    async def answer(number: int) -> bytes:
        await never.wait()
        return b""

    async with answering(answer) as server:
        given = load(server, patience=0.05)
        seen = await (open_loop(given, 100, 2) if is_open else closed_loop(given, 2))
        assert (await ask_each(given) or OK)[0] == TIMEOUT
        never.set()
    assert (seen.latencies, seen.errors) == ([], {TIMEOUT: 10 if is_open else 2})


async def test_a_missing_server_is_an_error_at_once() -> None:
    async def answer(number: int) -> bytes:
        return OK

    async with answering(answer) as server:
        pass
    with pytest.raises(OSError, match="refused|Connect"):
        await closed_loop(load(server), 2)


def test_the_address_contains_port_and_prefix() -> None:
    assert Server.of("https://[::1]/a/") == Server("::1", 443, True, "/a")
    request = Server.of("http://[::1]:81/a/").request("/x", {"K": "v"}, b"ab")
    assert request == b"POST /a/x HTTP/1.1\r\nHost: [::1]:81\r\nK: v\r\nContent-Length: 2\r\n\r\nab"
