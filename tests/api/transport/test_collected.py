"""The whole answer of an application of this process."""

import asyncio
from typing import Any

from service.api.transport.collected import collected, read_again


async def echo(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    assert message["more_body"] is False
    waiting = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    assert not waiting.done()  # its client never disconnects
    waiting.cancel()
    await send(
        {"type": "http.response.start", "status": scope["status"], "headers": [(b"a", b"b")]}
    )
    await send({"type": "http.response.body", "body": message["body"], "more_body": True})
    await send({"type": "http.response.body"})


async def test_the_parts_of_an_answer_are_joined() -> None:
    answer = await collected(echo, {"status": 201}, b"body")
    assert (answer.status, answer.headers, answer.body) == (201, ((b"a", b"b"),), b"body")


async def test_a_body_is_read_again_then_what_follows() -> None:
    async def gone() -> Any:
        return {"type": "http.disconnect"}

    receive = read_again(b"body", gone)
    assert await receive() == {"type": "http.request", "body": b"body", "more_body": False}
    assert (await receive())["type"] == "http.disconnect"
