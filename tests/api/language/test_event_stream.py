import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from service.api.language.event_stream import EventStream, event, merged


async def numbers(*values: int, pause: float = 0.0) -> AsyncIterator[int]:
    for value in values:
        await asyncio.sleep(pause)
        yield value


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def test_items_of_merged_streams_have_the_index_of_their_stream() -> None:
    found = [each async for each in merged([numbers(1, 2), numbers(3, 4)])]
    assert sorted(found) == [(0, 1), (0, 2), (1, 3), (1, 4)]
    assert [each async for each in merged([numbers(1, 2)])] == [(0, 1), (0, 2)]


@pytest.mark.parametrize("others", [0, 1])
async def test_a_failed_stream_ends_the_merged_stream(others: int) -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        async for _ in merged([failing(), *[numbers(*range(99), pause=1)] * others]):
            pass


async def test_events_are_sent_when_they_are_made() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def events() -> AsyncGenerator[bytes, None]:
        yield event({"a": "é\n"})
        yield event(2)

    ended: list[bool] = []
    await EventStream(events(), lambda: ended.append(True))({}, never, send)
    assert [message.get("body") for message in sent[1:]] == [
        'data: {"a":"é\\n"}\n\n'.encode(),
        b"data: 2\n\n",
        b"",
    ]
    headers = dict(sent[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert b"content-length" not in headers
    assert ended == [True]


async def test_a_disconnect_between_two_events_ends_the_stream() -> None:
    closed, ended, left = asyncio.Event(), [], asyncio.Event()

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body") == b"first":
            left.set()

    await EventStream(events(), lambda: ended.append(True))({}, receive, send)
    assert closed.is_set() and ended == [True]
