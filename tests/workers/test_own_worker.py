"""Requests to the worker of one model: connections are reused, and its absence is an error."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.core.errors import NotReady
from service.core.lone import LoneCores
from service.supervised import Seat
from service.supervision.board import Board, size
from service.workers import own_worker
from service.workers.line import Lost
from service.workers.own_worker import OwnWorker

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@dataclass
class Far:
    """The worker of the model: it sends ``answer`` to each request, then may end."""

    seat: Seat
    inbox: socket.socket
    answer: bytes = WHOLE
    ends: bool = False
    accepted: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    ends_of: list[socket.socket] = field(default_factory=list)

    def take(self) -> None:
        _, files, _, _ = socket.recv_fds(self.inbox, 1, 1)
        self.accepted += 1
        self.ends_of.append(socket.socket(fileno=files[0]))
        self.tasks.append(asyncio.ensure_future(self.serve(self.ends_of[-1])))

    async def serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(self.answer)
            await writer.drain()
            if self.ends:
                break
        writer.close()


@asynccontextmanager
async def far() -> AsyncIterator[tuple[Far, OwnWorker]]:
    inbox, outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    outbox.setblocking(False)
    board = Board(bytearray(size(2)), 2, 1)
    board.set_connections(1, 0)
    one = LoneCores(1)
    seat = Seat(0, board, inbox, inbox, (outbox, outbox), "", 0, "", 1, one, False, False, 0,
                {"m": 1}, 0.5)  # fmt: skip
    it = Far(seat, inbox)
    loop = asyncio.get_running_loop()
    loop.add_reader(inbox, it.take)
    worker = OwnWorker(seat, 1, "m")
    try:
        yield it, worker
    finally:
        for line in worker._idle:
            line.close()
        await asyncio.sleep(0)
        loop.remove_reader(inbox)
        inbox.close()
        outbox.close()
        await asyncio.gather(*it.tasks)


async def ask(worker: OwnWorker, sent: list[Any] | None = None) -> bytes:
    scope: Any = {"method": "GET", "raw_path": b"/", "headers": [(b"host", b"a")]}
    messages: list[Any] = [] if sent is None else sent
    body = iter([{"type": "http.request", "body": b""}])

    async def receive() -> Any:
        return next(body, None) or await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        messages.append(message)

    await worker.answer(scope, receive, send)
    return b"".join(each.get("body", b"") for each in messages)


async def test_a_connection_is_used_again() -> None:
    async with far() as (it, worker):
        assert [await ask(worker) for _ in range(3)] == [b"hello"] * 3
        assert it.accepted == 1
        assert await asyncio.gather(*(ask(worker) for _ in range(3))) == [b"hello"] * 3
        assert it.accepted == 3


async def test_a_closed_connection_is_not_used_again() -> None:
    async with far() as (it, worker):
        it.ends = True
        assert await ask(worker) == b"hello"
        await asyncio.gather(*it.tasks)
        await asyncio.sleep(0.05)
        assert await ask(worker) == b"hello"
        assert it.accepted == 2


async def test_a_connection_that_was_closed_just_now_is_not_used_again() -> None:
    async with far() as (it, worker):
        assert await ask(worker) == b"hello"
        # The event loop has not noticed it when the next request comes.
        it.ends_of[0].shutdown(socket.SHUT_RDWR)
        assert await ask(worker) == b"hello"
        assert it.accepted == 2


async def test_a_worker_that_does_not_run_is_not_ready() -> None:
    async with far() as (it, worker):
        it.seat.board.close(1)
        with pytest.raises(NotReady, match='"m" has a worker of its own, and it is starting'):
            await ask(worker)


async def test_a_worker_that_ends_before_its_answer_is_not_ready() -> None:
    async with far() as (it, worker):
        it.answer, it.ends = b"", True
        with pytest.raises(NotReady, match="it ended before there was an answer"):
            await ask(worker)


async def test_a_worker_that_ends_in_its_answer_is_lost() -> None:
    async with far() as (it, worker):
        it.answer, it.ends = WHOLE[:-1], True
        sent: list[Any] = []
        with pytest.raises(Lost, match="ended before its answer was complete"):
            await ask(worker, sent)
        assert sent[0]["status"] == 200


async def test_many_requests_wait_until_the_worker_takes_their_connections() -> None:
    async with far() as (it, worker):
        asyncio.get_running_loop().remove_reader(it.inbox)
        asking = [asyncio.ensure_future(ask(worker)) for _ in range(400)]
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().add_reader(it.inbox, it.take)
        assert await asyncio.gather(*asking) == [b"hello"] * 400


async def test_a_worker_that_takes_no_connections_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_worker, "BUSY_SECONDS", 0.05)
    async with far() as (it, worker):
        it.seat.outboxes[1].close()
        with pytest.raises(NotReady, match="it is busy"):
            await ask(worker)


async def test_without_descriptors_the_worker_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left() -> None:
        raise OSError(24, "Too many open files")

    async with far() as (_, worker):
        monkeypatch.setattr(socket, "socketpair", none_left)
        with pytest.raises(NotReady, match="it cannot be reached: Too many open files"):
            await ask(worker)
