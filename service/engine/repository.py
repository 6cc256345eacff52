"""The models of one folder by name, and the verbs on them.

At the start, and at every look in poll mode, memory follows the disk; otherwise only a verb changes
anything. Verbs on one model run one after the other, on different models side by side. A verb runs
in a task of its own, so that it ends as it should when whoever asked for it is gone.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from service.core.errors import ConfigError, NotFound, NotReady, ShuttingDown
from service.engine import steps, verbs
from service.engine.folder import ModelFolder, Override, read_model, read_models
from service.engine.model import Model, ModelVersion
from service.engine.paths import NAME
from service.engine.quarantine import write_quarantine
from service.engine.rollout import Cause, Demand, Environment
from service.engine.steps import Served
from service.engine.verbs import Choice

T = TypeVar("T")

_log = logging.getLogger("quantserve")


class ModelRepository:
    """Everything but reading files, loading and judging happens on the event loop."""

    def __init__(self, folder: Path, given: Environment) -> None:
        self.folder = folder
        self._given = given
        # All mutable state beside that of the models: whether the start is over and the end begun,
        # and the verbs at work.
        self.models: dict[str, Model] = {}
        self.ready = False
        self._stopping = False
        self._verbs: set[asyncio.Task[Any]] = set()

    def __iter__(self) -> Iterator[Model]:
        return iter(sorted(self.models.values(), key=lambda model: model.name))

    def model(self, name: str) -> Model:
        """A model by its name.

        Raises:
            NotFound: there is none.
            NotReady: the server has not come to it yet.
        """
        found = self.models.get(name)
        if found is None:
            if not self.ready and NAME.fullmatch(name) and (self.folder / name).is_dir():
                raise NotReady(f'model "{name}" is not loaded yet')
            has = ", ".join(f'"{other}"' for other in sorted(self.models)) or "none"
            raise NotFound(f'there is no model "{name}"; this server has {has}')
        return found

    def version(self, name: str, number: int | None = None) -> ModelVersion:
        """A version by name and number; see ``Model.version``."""
        return self.model(name).version(number)

    async def load_all(self) -> None:
        """Load what the folder holds; what fails is UNAVAILABLE with its reason.

        Raises:
            ConfigError: the folder cannot be read.
        """
        await self.refresh()
        await asyncio.to_thread(self._note_blame)
        for model in self:
            if model.folder.pin_problem:
                _log.error('model "%s": %s', model.name, model.folder.pin_problem)
            async with model.lock:
                await steps.converge(model, Cause.START, self._given)
        self.ready = not self._stopping

    def _note_blame(self) -> None:
        """Put the versions that crashed earlier servers into quarantine, on disk as well."""
        for (name, number), reason in self._given.blamed.items():
            model = self.models.get(name)
            if model is None or number not in model.on_disk:
                continue
            model.blamed[number] = reason
            problem = write_quarantine(model.folder.path, model.quarantined)
            _log.error(
                'model "%s" version %d: %s',
                name,
                number,
                "; ".join(filter(None, (reason, problem))),
            )

    async def refresh(self) -> None:
        """Take notice of what is on disk, without loading anything.

        Raises:
            ConfigError: the folder cannot be read.
        """
        before = {model.name: model.folder for model in self}
        folders = await self._read()
        for name, folder in folders.items():
            model = self.models.setdefault(name, Model(name, folder))
            # What a verb has seen meanwhile is newer.
            if model.folder is before.get(name) and not model.lock.locked() and not folder.problem:
                model.look(folder)
        for model in list(self):
            if model.name not in folders and not model.living and not model.lock.locked():
                del self.models[model.name]

    async def swap(self, name: str, choice: Choice, demand: Demand) -> Served:
        """Let another version of a model serve; see ``verbs.swap``.

        Raises:
            NotFound: there is no such model.
            ShuttingDown: the server stops before the switch.
        """
        model = await self._find(name)
        return await self._verb(verbs.swap(model, choice, demand, self._given))

    async def rollback(self, name: str, demand: Demand) -> Served:
        """Let the version serve that served before; see ``verbs.roll_back``.

        Raises:
            NotFound, ShuttingDown: see ``swap``.
        """
        return await self._verb(verbs.roll_back(self.model(name), demand, self._given))

    async def load(self, name: str, override: Override | None = None) -> None:
        """Follow a model's folder, which may be new; see ``verbs.load``.

        Raises:
            NotFound, ShuttingDown: see ``swap``.
        """
        model = await self._find(name)
        await self._verb(verbs.load(model, override or {}, self._given))

    async def unload(self, name: str) -> None:
        """Drain a model and free it; see ``verbs.unload``.

        Raises:
            NotFound, ShuttingDown: see ``swap``.
        """
        await self._verb(verbs.unload(self.model(name), self._given))

    async def poll(self, seen: Mapping[str, ModelFolder]) -> dict[str, ModelFolder]:
        """Begin to follow the folder: new models and versions, changed settings and pins, removed
        ones. Models at which something is at work are left to the next time.

        ``seen`` is what the last call gave; files that have changed since still grow. Gives what
        was seen this time.

        Raises:
            ConfigError: the folder cannot be read, or all models are gone at once: rather a folder
                that is not mounted than an operator who wants none.
        """
        folders = await self._read()
        if not folders and self.models:
            raise ConfigError(f"models folder {self.folder} is empty; what is loaded stays")
        for name in sorted({*folders, *self.models}):
            absent = ModelFolder(self.folder / name)
            known = self.models.get(name)
            before = seen.get(name, known.folder if known else absent)
            model = known or self.models.setdefault(name, Model(name, folders[name]))
            if not model.lock.locked() and not self._stopping:
                self._begin(self._follow(model, before))
        return folders

    async def settle(self) -> None:
        """Wait until no verb is at work."""
        while self._verbs:
            await asyncio.wait(self._verbs)

    def begin_stop(self) -> None:
        """Begin no more verbs, and end those that have not switched yet. Requests are answered."""
        self.ready = False
        self._stopping = True
        for verb in self._verbs:
            verb.cancel()

    async def stop(self) -> None:
        """Answer what was admitted by every model."""
        self.begin_stop()
        await self.settle()
        living = [version for model in self for version in model.living]
        await asyncio.gather(*(version.stop(self._given.patience) for version in living))

    async def _read(self) -> dict[str, ModelFolder]:
        overrides = {model.name: model.override for model in self}
        return await asyncio.to_thread(read_models, self.folder, overrides)

    async def _find(self, name: str) -> Model:
        """A model that is known, or one that is new on disk."""
        if name not in self.models and NAME.fullmatch(name):
            folder = await asyncio.to_thread(read_model, self.folder / name)
            if folder is not None:
                self.models.setdefault(name, Model(name, folder))
        return self.model(name)

    async def _follow(self, model: Model, before: ModelFolder) -> None:
        there = True
        try:
            there = await verbs.follow(model, before, self._given)
        except Exception:
            _log.exception('model "%s" cannot follow its folder', model.name)
        if not there and not model.living and not model.lock.locked():
            self.models.pop(model.name, None)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        if self._stopping:
            work.close()
            raise ShuttingDown("the server is shutting down; nothing was changed")
        task = asyncio.ensure_future(work)
        self._verbs.add(task)
        task.add_done_callback(self._verbs.discard)
        return task

    async def _verb(self, work: Coroutine[Any, Any, T]) -> T:
        task = self._begin(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise ShuttingDown("the server is shutting down; nothing was changed") from None
            raise
