"""The models of one folder by name, and the operations on them.

At the start, and at every poll in poll mode, memory follows the disk. Otherwise only an operation
changes the models. Operations on one model run one after the other, on different models
concurrently. Each operation has its own asyncio task, so it runs to its end when the client that
requested it disconnects.
"""

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from service.core.errors import ConfigError, NotFound, NotReady, ShuttingDown
from service.core.layout import PassedOver
from service.core.lifecycle import State
from service.core.names import NAME, displayed
from service.core.selection import ALL, Selection
from service.engine.repository import operations
from service.engine.repository.context import Context
from service.engine.repository.converge import converge, has_work
from service.engine.repository.model import CHANGED, Model
from service.engine.repository.operations import Choice
from service.engine.repository.rollout_options import Cause, RolloutOptions
from service.engine.repository.steps import Served
from service.engine.repository.version import ModelVersion
from service.engine.storage.folder import ModelFolder, Override
from service.engine.storage.quarantine import write_quarantine
from service.engine.storage.root import Root

T = TypeVar("T")

_log = logging.getLogger("quantserve")
NO_WORKER = (
    "[worker] own = true is applied when the server is started with its supervisor; until then the"
    " model shares its workers with others"
)


class ModelRepository:
    """The models of one folder. All work except reading files, loading and judging runs on the
    event loop.

    ``name`` is the name of the model whose file lies in the folder itself; see ``Root.of``.
    ``allow_empty``: be ready also while no model serves. Models that are not ``selected`` belong to
    other processes.
    """

    def __init__(
        self,
        folder: Path,
        context: Context,
        *,
        name: str | None = None,
        allow_empty: bool = False,
        selected: Selection = ALL,
    ) -> None:
        self.folder = folder
        self.root = Root.of(folder, name, selected)
        self._context = replace(context, promised=self._promised)
        self._allow_empty = allow_empty
        # All mutable state except that of the models: whether the start is over and whether the
        # stop has begun; the entries of the folder that are not served, whether it has models of
        # other processes, and the entries already logged; the versions whose files have changed;
        # and the running operations.
        self.models: dict[str, Model] = {}
        self.started = False
        self.stopping = False
        self._passed_over: tuple[PassedOver, ...] = ()
        self._others = False
        self._logged: set[PassedOver] = set()
        self._changed: set[tuple[str, int]] = set()
        self._operations: set[asyncio.Task[Any]] = set()

    def __iter__(self) -> Iterator[Model]:
        return iter(sorted(self.models.values(), key=lambda model: model.name))

    def _promised(self) -> int:
        """Return the bytes by which caches may still grow."""
        every = (version for model in self for version in model.versions.values())
        return sum(version.promised_bytes for version in every)

    @property
    def ready(self) -> bool:
        """True if the server has started, is not stopping, and serves a model. With ``allow_empty``
        no model is required."""
        serves = self._allow_empty or any(model.serving for model in self.models.values())
        return self.started and not self.stopping and serves

    @property
    def passed_over(self) -> list[PassedOver]:
        """The entries of the folder that are not served, sorted by path. Broken versions are not
        included: their model lists them."""
        of_models = (each for model in self for each in model.folder.passed_over)
        return sorted({*self._passed_over, *of_models}, key=lambda each: each.path)

    @property
    def serving(self) -> list[ModelVersion]:
        """The serving versions that are ready, by the names of their models."""
        found = (model.serving for model in self)
        return [each for each in found if each is not None and each.state is State.READY]

    def model(self, name: str) -> Model:
        """Return a model by its name.

        Raises:
            NotFound: there is no such model.
            NotReady: the server is starting, and has not loaded the model yet.
        """
        found = self.models.get(name)
        if found is None:
            if not self.started and self._may_come(name):
                raise NotReady(f'model "{name}" is not loaded yet')
            for entry in self._passed_over:
                if entry.path == name:
                    raise NotFound(f'there is no model "{name}": {entry.reason}')
            others = self.root.selected.names if self.root.selected.inverted else frozenset()
            has = ", ".join(f'"{other}"' for other in sorted({*self.models, *others})) or "none"
            raise NotFound(f'there is no model "{name}"; this server has {has}')
        return found

    def version(self, name: str, number: int | None = None) -> ModelVersion:
        """A version by name and number; see ``Model.version``."""
        model = self.models.get(name)  # `model` is called for its error only, to save a call
        return (model or self.model(name)).version(number)

    async def load_all(self) -> None:
        """Load the models in the folder. A version that fails becomes UNAVAILABLE with the reason.

        Raises:
            ConfigError: the folder cannot be read.
        """
        await self.refresh()
        await asyncio.to_thread(self._note_blame)
        await asyncio.gather(*(self._start(model) for model in self))
        self._log_unserved(self._unserved())
        self.started = True

    async def _start(self, model: Model) -> None:
        if model.folder.pin_problem:
            _log.error('model "%s": %s', model.name, model.folder.pin_problem)
        with self._survived(model):
            async with model.lock:
                await converge(model, Cause.START, self._context)

    def _note_blame(self) -> None:
        """Put the versions that crashed earlier servers into quarantine, in memory and on disk."""
        for (name, number), reason in self._context.blamed.items():
            model = self.models.get(name)
            if model is None or number not in model.on_disk:
                continue
            model.blame(number, reason)
            problem = write_quarantine(model.folder.path, model.quarantined)
            _log.error(
                'model "%s" version %d: %s',
                name,
                number,
                "; ".join(filter(None, (reason, problem))),
            )

    async def refresh(self) -> None:
        """Read the state of the folder, without loading anything.

        Raises:
            ConfigError: the folder cannot be read.
        """
        before = {model.name: model.folder for model in self}
        folders = await self._read()
        for name, folder in folders.items():
            model = self._known(name, folder)
            # If an operation has read the folder meanwhile, its state is newer.
            if model.folder is before.get(name) and not model.lock.locked() and not folder.problem:
                model.look(folder)
        for model in list(self):
            if model.name not in folders and not model.active and not model.lock.locked():
                del self.models[model.name]
        self._log_changed()

    async def swap(self, name: str, choice: Choice, options: RolloutOptions) -> Served:
        """Let another version of a model serve; see ``operations.swap``.

        Raises:
            NotFound: there is no such model.
            ShuttingDown: the server stops before the switch.
        """
        model = await self._find(name)
        return await self._carry_out(operations.swap(model, choice, options, self._context))

    async def rollback(self, name: str, options: RolloutOptions) -> Served:
        """Let the previously serving version serve again; see ``operations.roll_back``.

        Raises:
            NotFound, ShuttingDown: see ``swap``.
        """
        return await self._carry_out(operations.roll_back(self.model(name), options, self._context))

    async def load(self, name: str, override: Override | None = None) -> None:
        """Follow a model's folder, which may be new; see ``operations.load``.

        Raises:
            NotFound, ShuttingDown: see ``swap``.
        """
        model = await self._find(name)
        await self._carry_out(operations.load(model, override or {}, self._context))

    async def unload(self, name: str) -> None:
        """Drain a model and free it; see ``operations.unload``.

        Raises:
            NotFound, ShuttingDown: see ``swap``.
        """
        await self._carry_out(operations.unload(self.model(name), self._context))

    async def poll(self, seen: Mapping[str, ModelFolder]) -> dict[str, ModelFolder]:
        """Begin to follow the folder: new models and versions, changed settings and pins, removed
        ones. Models with an operation in progress are left to the next call.

        ``seen`` is the result of the last call: files that have changed since are still being
        written. Returns the folders as read by this call.

        Raises:
            ConfigError: the folder cannot be read, or all models are gone at once. In that case
                the folder is more likely not mounted than emptied by an operator.
        """
        before_look = self._unserved()
        folders = await self._read()
        emptied = not folders and not self._others
        # An entry that is being copied may not be servable now, and be complete at the next poll.
        # So only entries that were not served at the last poll either are logged.
        self._log_unserved(before_look & self._unserved())
        if emptied and self.models:
            raise ConfigError(f"models folder {self.folder} is empty; loaded models stay loaded")
        for name in sorted({*folders, *self.models}):
            absent = ModelFolder(self.folder / name)
            known = self.models.get(name)
            before = seen.get(name, known.folder if known else absent)
            if known and name in folders and not has_work(known, folders[name], before):
                continue  # reading and locking a thousand models again takes long
            model = known or self._known(name, folders[name])
            if not model.lock.locked() and not self.stopping:
                self._begin(self._follow(model, before))
        return folders

    async def wait_idle(self) -> None:
        """Wait until no operation is running."""
        while self._operations:
            await asyncio.wait(self._operations)

    def begin_stop(self) -> None:
        """Refuse new operations, and cancel those that have not switched yet. Requests are still
        answered."""
        self.stopping = True
        for operation in self._operations:
            operation.cancel()

    async def stop(self, drain_timeout: float | None = None) -> None:
        """Answer the requests that every model has admitted, then stop.

        The limit is ``drain_timeout`` seconds, or the drain timeout of operations for None. Runs
        that take longer are ended.
        """
        self.begin_stop()
        drain_timeout = self._context.drain_timeout if drain_timeout is None else drain_timeout
        active = {version for model in self for version in model.active}
        await asyncio.gather(self.wait_idle(), *(version.stop(drain_timeout) for version in active))
        # Stop the versions that an operation has brought to READY meanwhile.
        active = {version for model in self for version in model.active}
        await asyncio.gather(*(version.stop(drain_timeout) for version in active))

    async def _read(self) -> dict[str, ModelFolder]:
        overrides = {model.name: model.override for model in self}
        contents = await asyncio.to_thread(self.root.read, overrides)
        self._passed_over, self._others = contents.passed_over, contents.others
        return dict(contents.models)

    def _known(self, name: str, folder: ModelFolder) -> Model:
        if name not in self.models and folder.config.worker.own and self.root.selected.inverted:
            _log.warning('model "%s": %s', name, NO_WORKER)
        return self.models.setdefault(name, Model(name, folder, partial(self.root.read_one, name)))

    def _unserved(self) -> set[PassedOver]:
        return {*self.passed_over, *self._broken()}

    def _broken(self) -> Iterator[PassedOver]:
        """Yield models and versions that cannot be loaded, and that no operation has tried to load.
        A load that was tried is logged when it fails."""
        for model in self:
            if why := model.folder.problem or (not model.on_disk and model.folder.reason):
                yield PassedOver(model.name, why)
                continue
            for row in model.unfit():
                if row.number not in model.versions:
                    yield PassedOver(f"{model.name}/{row.number}", row.reason)

    def _log_unserved(self, found: set[PassedOver]) -> None:
        for each in sorted(found - self._logged, key=lambda each: each.path):
            _log.warning("%s is not served: %s", each.path, each.reason)
        self._logged = found

    def _log_changed(self) -> None:
        found = {(m.name, n) for m in self if not m.lock.locked() for n in m.changed}
        for name, number in sorted(found - self._changed):
            _log.warning('model "%s" version %d: %s', name, number, CHANGED)
        self._changed = found

    async def _find(self, name: str) -> Model:
        """Return a known model, or a model that is new on disk."""
        if name not in self.models and NAME.fullmatch(name):
            folder = await asyncio.to_thread(self.root.read_one, name)
            if folder is not None:
                self._known(name, folder)
        return self.model(name)

    async def _follow(
        self, model: Model, before: ModelFolder | None, context: Context | None = None
    ) -> None:
        there = True
        with self._survived(model):
            there = await operations.follow(model, before, context or self._context)
        if not there and not model.active and not model.lock.locked():
            self.models.pop(model.name, None)

    @contextmanager
    def _survived(self, model: Model) -> Iterator[None]:
        """An error caused by one model's folder becomes that model's reason, and does not affect
        others."""
        before = model.folder.problem
        try:
            yield
        except Exception as error:
            text = displayed(f"it cannot follow its folder: {type(error).__name__}: {error}")
            if text != before:
                _log.error('model "%s": %s', model.name, text)
                _log.debug('model "%s"', model.name, exc_info=True)
            model.report_problem(text)
            model.explain(text)

    def _may_come(self, name: str) -> bool:
        """True if a model of this name may be in the folder: it is not loaded yet."""
        known = name == self.root.name or os.path.isdir(self.folder / name)  # noqa: PTH112 - never raises
        return bool(NAME.fullmatch(name)) and known

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        if self.stopping:
            work.close()
            raise ShuttingDown("the server is shutting down; nothing was changed")
        task = asyncio.ensure_future(work)
        self._operations.add(task)
        task.add_done_callback(self._operations.discard)
        return task

    async def _carry_out(self, work: Coroutine[Any, Any, T]) -> T:
        task = self._begin(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise ShuttingDown("the server is shutting down; nothing was changed") from None
            raise
