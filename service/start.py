"""The start of a server: loads the models, announces the server, then polls the models folder."""

import asyncio
import gc
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from service.api.control.error_handlers import rehearse
from service.config.settings import Settings
from service.core.crashes import Crashes
from service.core.errors import ConfigError
from service.core.events import Observer
from service.engine.repository.repository import ModelRepository
from service.engine.repository.watch import watch
from service.engine.storage.access import denials
from service.engine.storage.staging import remove_abandoned

if TYPE_CHECKING:
    from service.workers.wiring import Fleet

AFTER_CRASH_SECONDS = 15.0
"""Seconds that a server which replaces a crashed one waits for its models before it accepts
connections."""

_log = logging.getLogger("quantserve")


class Start:
    """Loads the models, announces that the server is ready, then polls the folder if the settings
    ask for it. ``control`` is the control plane, which is rehearsed. ``fleet`` is the interface to
    the other workers, if there are any."""

    def __init__(
        self,
        settings: Settings,
        repository: ModelRepository,
        control: ASGIApp,
        fleet: "Fleet | None",
        crashes: Crashes,
        announce: Callable[[ModelRepository], None],
        observe: Observer,
    ) -> None:
        self._settings = settings
        self._repository = repository
        self._control = control
        self._fleet = fleet
        self._crashes = crashes
        self._announce = announce
        self._observe = observe
        # All mutable state: the task that loads and polls, whether the models are loaded, and
        # whether the server accepts connections.
        self._task: asyncio.Task[None] | None = None
        self._loaded = asyncio.Event()
        self._listening = asyncio.Event()

    async def begin(self) -> None:
        """Begin to load. Return when the server may accept connections: at once, except after a
        crash and while other workers answer."""
        self._task = loading = asyncio.create_task(self._load())
        loading.add_done_callback(_tell_failure)
        if self._crashes.total:
            _log.error(
                "replaced a server that died of %s (crash %d)",
                self._crashes.last,
                self._crashes.total,
            )
        if self._fleet and self._fleet.late:
            # Connections go to the other workers until this worker can serve them.
            await asyncio.wait(
                {loading, asyncio.ensure_future(self._loaded.wait())},
                return_when=asyncio.FIRST_COMPLETED,
            )
        elif self._crashes.total:
            # Connections wait in the port's backlog: they are delayed, not refused.
            await self._until_loaded(AFTER_CRASH_SECONDS)

    def listening(self) -> None:
        """Record that the server accepts connections. The server is announced when its models are
        loaded as well."""
        self._listening.set()

    def cancel(self) -> None:
        """Cancel the loading of models and the polling of the folder."""
        if self._task is not None:
            self._task.cancel()

    async def _until_loaded(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._loaded.wait()

    async def _load(self) -> None:
        for left in await asyncio.to_thread(remove_abandoned, self._settings.models):
            _log.warning(
                "removed files left by a process that died: %s/%s", left.parent.name, left.name
            )
        for line in await asyncio.to_thread(denials, self._settings.models):
            _log.warning("%s", line)
        try:
            await self._repository.load_all()
        except ConfigError as error:
            if not self._settings.poll:
                raise
            _log.error("%s", error)  # the watcher tries again
        self._loaded.set()
        for path in ("/v2/health/live", "/metrics"):
            await rehearse(self._control, path)
        # Objects of the start are permanent. Without the freeze, each later collection would take
        # tens of milliseconds.
        gc.collect()
        gc.freeze()
        if self._fleet:
            await self._fleet.ready()
        await self._listening.wait()
        self._announce(self._repository)
        if self._settings.poll:
            await watch(self._repository, self._settings.poll, self._observe)


def _tell_failure(loading: asyncio.Task[None]) -> None:
    error = None if loading.cancelled() else loading.exception()
    if error is not None:
        _log.error("loading the models stopped, the server will not be ready: %s", error)
        _log.debug("loading the models stopped", exc_info=error)
