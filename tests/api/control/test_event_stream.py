"""Watchers get events in order, and the server never waits for a watcher."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from service.api.control.event_stream import BUFFER, Watchers
from service.core.events import (
    Outcome,
    PhaseStatus,
    RequestCompleted,
    StateChanged,
    Swapped,
    SwapPhase,
)
from service.core.lifecycle import State

PHASE = SwapPhase("m", 2, "golden", PhaseStatus.DONE, 0.25, "")


async def started(watchers: Watchers, model: str = "m", **more: float) -> AsyncIterator[str]:
    stream = watchers.watch(model, **more)
    assert await anext(stream) == ": watching\n\n"
    return stream


async def following(stream: AsyncIterator[str]) -> tuple[str, dict[str, Any]]:
    text = await asyncio.wait_for(anext(stream), 5)
    name, data, *rest = text.split("\n")
    assert rest == ["", ""]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_events_of_the_model_are_sent_in_order() -> None:
    watchers = Watchers()
    stream = await started(watchers)
    watchers(PHASE)
    watchers(StateChanged("other", 1, State.READY, ""))
    watchers(RequestCompleted("m", 1, "v2", Outcome.OK, 0.1))
    watchers(StateChanged("m", 2, State.READY, ""))
    watchers(Swapped("m", 1, 2, "swap"))
    phase = {"model": "m", "version": 2, "phase": "golden", "status": "done", "seconds": 0.25}
    assert await following(stream) == ("phase", {**phase, "detail": ""})
    assert (await following(stream))[1]["state"] == "READY"
    assert (await following(stream))[0] == "swapped"


async def test_every_watcher_gets_the_event() -> None:
    watchers = Watchers()
    streams = [await started(watchers) for _ in range(2)]
    watchers(PHASE)
    assert await following(streams[0]) == await following(streams[1])


async def test_a_heartbeat_is_sent_when_there_are_no_events() -> None:
    stream = await started(Watchers(), heartbeat=0.001)
    assert await anext(stream) == ": still here\n\n"
    assert await anext(stream) == ": still here\n\n"


async def test_a_slow_watcher_loses_the_oldest_events_and_gets_their_number() -> None:
    watchers = Watchers()
    stream = await started(watchers)
    for number in range(BUFFER + 3):
        watchers(PHASE._replace(version=number))
    assert await following(stream) == ("lost", {"count": 3})
    assert (await following(stream))[1]["version"] == 3


async def test_streams_end_after_the_remaining_events_when_the_server_stops() -> None:
    watchers = Watchers()
    stream = await started(watchers)
    watchers(PHASE)
    watchers.close()
    assert (await following(stream))[0] == "phase"
    assert [text async for text in stream] == []
    assert [text async for text in watchers.watch("m")] == [": watching\n\n"]


async def test_a_disconnected_watcher_is_removed() -> None:
    watchers = Watchers()
    stream = watchers.watch("m")
    await anext(stream)
    await stream.aclose()
    assert not watchers._watchers
