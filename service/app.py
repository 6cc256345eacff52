"""The composition root: the one place where things are built and wired."""

import asyncio
import gc
import logging
from collections.abc import Callable, MutableMapping
from functools import partial
from time import time
from typing import Any

from service.api.body import Receive
from service.api.control import control_plane
from service.api.direct import DirectProtocol
from service.api.exchange import LookOut
from service.api.infer import DataPlane, Send
from service.api.inference import Inference
from service.config import Settings
from service.core.events import Event, Observers, RequestCompleted, StateChanged
from service.core.lifecycle import State
from service.core.statistics import Statistics
from service.engine.hardware import usable_cores
from service.engine.repository import ModelRepository
from service.metrics import Metrics

_log = logging.getLogger("quantserve")


class Server:
    """The ASGI application: loads models when it starts, drains them when it stops."""

    def __init__(self, settings: Settings, announce: Callable[[ModelRepository], None]) -> None:
        statistics = Statistics(time)
        observe = Observers(statistics, Log(settings.access_log))
        self.repository = ModelRepository(
            settings.models, settings.cores or usable_cores(), observe
        )
        metrics = Metrics(statistics, self.repository)
        control = control_plane(self.repository, statistics, metrics.render, logging.getLogger())
        inference = Inference(self.repository, settings, observe)
        self._plane = DataPlane(control, inference)
        self.protocol = partial(DirectProtocol, inference, LookOut())
        self._announce = announce

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        # `async` although it would be faster without: servers tell ASGI 3 from 2 by this.
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._plane(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Live at once; ready when every model that can be is loaded and warm."""
        await receive()
        loading = asyncio.create_task(self._load())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        loading.cancel()
        await self.repository.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _load(self) -> None:
        await self.repository.load_all()
        # What is there now stays: the garbage collector need not look at it again and again,
        # which took tens of milliseconds each time.
        gc.collect()
        gc.freeze()
        self._announce(self.repository)


class Log:
    """An observer that writes what an operator must know, and each request if asked to: by a
    setting, or for a while by the level of the log.
    """

    def __init__(self, requests: bool) -> None:
        self._requests = requests

    def __call__(self, event: Event) -> None:
        if isinstance(event, StateChanged):
            level = logging.ERROR if event.reason and event.state is State.UNAVAILABLE else 20
            _log.log(level, "model %s version %s is %s %s", *event)
        elif isinstance(event, RequestCompleted):
            level = logging.INFO if self._requests else logging.DEBUG
            if _log.isEnabledFor(level):
                fields = event._asdict().items()
                _log.log(level, "%s", " ".join(f"{k}={v}" for k, v in fields if v != ""))
