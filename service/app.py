"""The composition root: the one place where things are built and wired."""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from time import time
from typing import Any

from service.api.admin import admin
from service.api.body import Receive
from service.api.control import control_plane
from service.api.infer import DataPlane, Send
from service.api.repository_verbs import Limits, repository_verbs
from service.api.versions import versions
from service.api.watching import Watchers, watching
from service.config import Settings
from service.core.events import (
    Event,
    Observers,
    PhaseStatus,
    RequestCompleted,
    StateChanged,
    Swapped,
    SwapPhase,
)
from service.core.lifecycle import State
from service.core.statistics import Statistics
from service.engine.hardware import usable_cores
from service.engine.model import UNLOADED
from service.engine.repository import ModelRepository
from service.engine.rollout import Environment
from service.engine.watch import watch
from service.metrics import Metrics

_log = logging.getLogger("quantserve")


class Server:
    """The ASGI application: loads models when it starts, drains them when it stops."""

    def __init__(self, settings: Settings, announce: Callable[[ModelRepository], None]) -> None:
        statistics = Statistics(time)
        self._watchers = Watchers()
        observe = Observers(statistics, self._watchers, Log(settings.access_log))
        given = Environment(
            settings.cores or usable_cores(),
            observe,
            settings.memory_budget,
            settings.shutdown_timeout,
        )
        self.repository = ModelRepository(settings.models, given)
        metrics = Metrics(statistics, self.repository)
        routers = [
            admin(self.repository),
            versions(self.repository, statistics),
            watching(self.repository, self._watchers),
            repository_verbs(
                self.repository, Limits(settings.max_body_bytes, settings.body_timeout)
            ),
        ]
        control = control_plane(
            self.repository, statistics, metrics.render, logging.getLogger(), routers
        )
        self._plane = DataPlane(control, self.repository, settings, observe)
        self._poll = settings.poll
        self._announce = announce

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._plane(scope, receive, send)

    def begin_stop(self) -> None:
        """Take no new work and end what may last: watchers' streams, swaps before their switch.
        Called when the signal comes, so that nobody is waited for in vain."""
        self._watchers.close()
        self.repository.begin_stop()

    async def _live(self, receive: Receive, send: Send) -> None:
        """Live at once; ready when every model that can be is loaded and warm."""
        await receive()
        loading = asyncio.create_task(self._load())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        loading.cancel()
        self.begin_stop()
        await self.repository.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _load(self) -> None:
        await self.repository.load_all()
        self._announce(self.repository)
        if self._poll:
            await watch(self.repository, self._poll)


class Log:
    """An observer that writes what an operator must know, and each request if asked to: by a
    setting, or for a while by the level of the log.
    """

    def __init__(self, requests: bool) -> None:
        self._requests = requests

    def __call__(self, event: Event) -> None:
        if isinstance(event, StateChanged):
            failed = event.state is State.UNAVAILABLE and event.reason != UNLOADED
            level = logging.ERROR if failed else logging.INFO
            _log.log(level, "model %s version %s is %s %s", *event)
        elif isinstance(event, Swapped):
            level = logging.WARNING if event.forced else logging.INFO
            forced = f" although it failed {event.forced}" if event.forced else ""
            text = "model %s: version %s serves after %s (%s)%s"
            _log.log(level, text, event.model, event.new, event.old or "none", event.cause, forced)
        elif isinstance(event, SwapPhase):
            if event.status is not PhaseStatus.STARTED:
                _log.debug("model %s version %s: %s %s in %.3f s %s", *event)
        elif isinstance(event, RequestCompleted):
            level = logging.INFO if self._requests else logging.DEBUG
            if _log.isEnabledFor(level):
                fields = event._asdict().items()
                _log.log(level, "%s", " ".join(f"{k}={v}" for k, v in fields if v != ""))
