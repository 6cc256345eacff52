"""Server-sent events: changes of a model's versions, sent to all subscribers as they happen.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from service.api.control.lookup import NOT_FOUND, ModelName
from service.core.events import Event, StateChanged, Swapped, SwapPhase
from service.core.figures import dumps
from service.engine.repository.repository import ModelRepository

NAMES = {SwapPhase: "phase", StateChanged: "state", Swapped: "swapped"}
HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent, so that no proxy closes the connection.
"""
BUFFER = 256
"""Events kept for a slow reader. Older events are lost, and the reader gets their number."""
EXAMPLE = """event: phase
data: {"model": "digits", "version": 1, "phase": "golden", "status": "done", "seconds": 0.004}

event: swapped
data: {"model": "digits", "old": 2, "new": 1, "cause": "swap", "forced": ""}

"""
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events as they happen, until the client disconnects or the server stops",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}},
    }
}


class Watcher:
    """One reader of one model's events."""

    def __init__(self) -> None:
        # All mutable state: events not read yet, the number of lost events, whether it is closed.
        self._events: deque[str] = deque(maxlen=BUFFER)
        self._lost = 0
        self._closed = False
        self._news = asyncio.Event()

    def tell(self, text: str) -> None:
        """Keep an event until it is read."""
        self._lost += len(self._events) == BUFFER
        self._events.append(text)
        self._news.set()

    def close(self) -> None:
        """End the stream when all events so far are sent."""
        self._closed = True
        self._news.set()

    async def read(self, heartbeat: float = HEARTBEAT) -> AsyncIterator[str]:
        """Yield the text of the stream."""
        yield ": watching\n\n"
        while True:
            if self._lost:
                lost, self._lost = self._lost, 0
                yield _message("lost", {"count": lost})
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            self._news.clear()
            try:
                async with asyncio.timeout(heartbeat):
                    await self._news.wait()
            except TimeoutError:
                yield ": still here\n\n"


class Watchers:
    """An observer: sends events of versions to the clients that watch their model."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = {}
        self._closed = False

    def __call__(self, event: Event) -> None:
        if not self._watchers or not isinstance(event, StateChanged | SwapPhase | Swapped):
            return
        watchers = self._watchers.get(event.model)
        if watchers:
            text = _message(NAMES[type(event)], event._asdict())
            for watcher in watchers:
                watcher.tell(text)

    async def watch(self, model: str, heartbeat: float = HEARTBEAT) -> AsyncIterator[str]:
        """Yield the events of a model from now on."""
        watcher = Watcher()
        self._watchers.setdefault(model, set()).add(watcher)
        if self._closed:
            watcher.close()
        try:
            async for text in watcher.read(heartbeat):
                yield text
        finally:
            self._watchers[model].discard(watcher)
            if not self._watchers[model]:
                del self._watchers[model]

    def close(self) -> None:
        """End all streams, because the server stops."""
        self._closed = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.close()


def watching(repository: ModelRepository, watchers: Watchers) -> APIRouter:
    """Return the route that watches a model."""
    router = APIRouter(prefix="/admin/models/{name}", tags=["admin"])

    @router.get(
        "/events",
        summary="Watch the changes of a model's versions",
        response_class=StreamingResponse,
        responses=NOT_FOUND | STREAM,
    )
    async def events(name: ModelName) -> StreamingResponse:
        """Server-sent events: `phase` when a phase of a swap begins (`started`) and ends (`done`,
        `failed` or `skipped`), `state` when the state of a version changes, `swapped` when another
        version has become the serving version, `lost` when the reader was too slow and events were
        lost."""
        repository.model(name)
        return StreamingResponse(
            watchers.watch(name),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    return router


def _message(event: str, data: dict[str, Any]) -> str:
    return f"event: {event}\ndata: {dumps(data)}\n\n"
