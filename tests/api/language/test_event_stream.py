"""Server-sent events, for as long as the client is there."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from service.api.language.event_stream import DONE, EventStream, event, merged, until_gone

Messages = list[dict[str, Any]]


async def stays() -> Any:
    await asyncio.Event().wait()


async def leaves() -> Any:
    return {"type": "http.disconnect"}


async def three() -> AsyncGenerator[bytes, None]:
    for number in range(3):
        yield event(number)
    yield DONE


async def test_events_are_sent_as_they_come() -> None:
    sent: Messages = []
    ended: list[bool] = []

    async def send(message: Any) -> None:
        sent.append(message)

    stream = EventStream(three(), lambda: ended.append(True))
    await stream({"type": "http"}, stays, send)
    headers = dict(sent[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert b"content-length" not in headers
    body = b"".join(message.get("body", b"") for message in sent)
    assert body == b"data: 0\n\ndata: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
    assert [m["more_body"] for m in sent[1:]] == [True] * 4 + [False] and ended == [True]


async def test_a_client_that_leaves_between_two_events_ends_them() -> None:
    closed: list[str] = []

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            yield event(0)
            await asyncio.Event().wait()
        finally:
            closed.append("events")

    gone = asyncio.Event()

    async def receive() -> Any:
        await gone.wait()
        return await leaves()

    async def send(message: Any) -> None:
        if message.get("body"):
            gone.set()

    await EventStream(endless(), lambda: closed.append("end"))({"type": "http"}, receive, send)
    assert closed == ["events", "end"]


async def test_work_is_given_up_when_its_client_leaves() -> None:
    async def work() -> int:
        return 1

    assert await until_gone(work(), stays) == 1
    assert await until_gone(asyncio.sleep(1000), leaves) is None


async def numbers(*values: int, fails: bool = False) -> AsyncIterator[int]:
    for value in values:
        await asyncio.sleep(0)
        yield value
    if fails:
        raise ValueError("broken")


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_streams_are_merged_each_in_its_order(count: int) -> None:
    found = [item async for item in merged([numbers(1, 2, 3) for _ in range(count)])]
    for place in range(count):
        assert [value for at, value in found if at == place] == [1, 2, 3]


async def test_one_that_breaks_is_the_end_of_all() -> None:
    with pytest.raises(ValueError, match="broken"):
        async for _ in merged([numbers(1, fails=True), numbers(*range(1000))]):
            pass
