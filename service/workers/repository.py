"""The models of one worker, which change together with those of the other workers.

Each change of the served versions is proposed to the supervisor, and carried out by each worker
with a ballot: all workers switch, or none.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from service.engine.repository import operations
from service.engine.repository.context import Context
from service.engine.repository.model import Model
from service.engine.repository.operations import Choice
from service.engine.repository.repository import ModelRepository
from service.engine.repository.rollout_options import Cause, RolloutOptions
from service.engine.repository.standing import Standing, restore, standing_of
from service.engine.repository.steps import Served
from service.engine.storage.folder import ModelFolder, Override
from service.workers.ballot import Ballot
from service.workers.member import Change, Member

if TYPE_CHECKING:
    from service.engine.host.shared_memory import Regions

REGIONS = "/shared-memory"
"""Name used in changes for the regions of shared memory; no model can have this name."""

_log = logging.getLogger("quantserve")


class SharedRepository(ModelRepository):
    """See ``ModelRepository``. ``member`` is the connection to the other workers. ``regions`` is
    the shared memory of clients, registered in all workers together."""

    def __init__(
        self,
        folder: Path,
        context: Context,
        member: Member,
        *,
        name: str | None = None,
        allow_empty: bool = False,
        regions: "Regions | None" = None,
    ) -> None:
        seat = member.seat
        super().__init__(
            folder,
            context,
            name=name,
            # The models of the other workers may serve.
            allow_empty=allow_empty or bool(seat.own),
            selected=seat.models,
        )
        self._regions = regions
        self._member = member
        # The folders, as poll mode read them before, of the models that it is following now.
        self._seen: dict[str, ModelFolder | None] = {}

    @property
    def ready(self) -> bool:
        """True if this worker is ready and the required number of workers were ready once."""
        return super().ready and self._member.seat.board.ready

    def standing(self) -> dict[str, Any]:
        """Return the versions that this worker serves, by model."""
        found = {model.name: standing_of(model) for model in self}
        standing = {name: each.to_json() for name, each in found.items() if each is not None}
        if self._regions is not None and (regions := self._regions.standing()):
            standing[REGIONS] = regions
        return standing

    async def load_all(self) -> None:
        """Load the versions that the other workers serve, or those of the folder if there are no
        other workers yet. Then take part in changes.

        Raises:
            ConfigError: the folder cannot be read.
        """
        wanted = await self._member.standing()
        if wanted is None:
            await super().load_all()
        else:
            await self.refresh()
            await asyncio.to_thread(self._note_blame)
            await self._restore(wanted)
        while (wanted := await self._member.join()) is not None:
            await self._restore(wanted)
        self.started = True

    async def swap(self, name: str, choice: Choice, options: RolloutOptions) -> Served:
        """Serve another version of a model, in all workers or none; see ``operations.swap``."""
        await self._find(name)
        return cast(Served, await self._propose(name, "swap", choice=choice, **_told(options)))

    async def rollback(self, name: str, options: RolloutOptions) -> Served:
        """Serve the previous version again; see ``operations.roll_back``."""
        self.model(name)
        return cast(Served, await self._propose(name, "rollback", **_told(options)))

    async def load(self, name: str, override: Override | None = None) -> None:
        """Follow a model's folder, which may be new; see ``operations.load``."""
        await self._find(name)
        await self._propose(name, "load", override=dict(override or {}))

    async def unload(self, name: str) -> None:
        """Drain a model and free its memory; see ``operations.unload``."""
        self.model(name)
        await self._propose(name, "unload")

    async def poll(self, seen: Mapping[str, ModelFolder]) -> dict[str, ModelFolder]:
        """Follow the models folder. One worker polls it for all."""
        return await super().poll(seen) if self._member.polls else dict(seen)

    async def carry_out(self, change: Change, ballot: Ballot) -> Any:
        """Do this worker's part of a change."""
        return await self._carry_out(self._part(change, ballot))

    async def _part(self, change: Change, ballot: Ballot) -> Any:
        context, asked = replace(self._context, ballot=ballot), change.arguments
        if change.verb == "log level":
            logging.getLogger().setLevel(asked["level"])
            return None
        if change.verb == "regions":
            assert self._regions is not None, "its route is there. This is a bug."
            return self._regions.apply(asked)
        model = await self._find(change.model)
        if change.verb == "swap":
            return await operations.swap(model, asked["choice"], _options(asked), context)
        if change.verb == "rollback":
            return await operations.roll_back(model, _options(asked), context)
        if change.verb == "load":
            return await operations.load(model, asked["override"], context)
        if change.verb == "unload":
            return await operations.unload(model, context)
        if change.verb == "quarantine":
            _log.error('model "%s" version %d: %s', model.name, asked["version"], asked["reason"])
            version, reason = asked["version"], asked["reason"]
            return await operations.quarantine(model, version, reason, context)
        assert change.verb == "follow", f"unknown change {change.verb}. This is a bug."
        before = self._seen.get(model.name) if ballot.leads else None
        return await super()._follow(model, before, context)

    async def _follow(
        self, model: Model, before: ModelFolder | None, context: Context | None = None
    ) -> None:
        if model.name in self._seen:
            return  # the change is already running
        self._seen[model.name] = before
        try:
            await self._member.propose(model.name, "follow", {})
        finally:
            del self._seen[model.name]

    async def _propose(self, name: str, verb: str, **arguments: Any) -> Any:
        return await self._carry_out(self._member.propose(name, verb, arguments))

    async def _restore(self, wanted: Mapping[str, Any]) -> None:
        if self._regions is not None:
            self._regions.restore(wanted.get(REGIONS))
        wanted = {name: found for name, found in wanted.items() if name != REGIONS}
        for name in wanted:
            if name not in self.models:
                folder = await asyncio.to_thread(self.root.read_one, name)
                if folder is not None:
                    self._known(name, folder)
        standings = {name: Standing.from_json(found) for name, found in wanted.items()}
        context = replace(self._context, rehearse=False)
        await asyncio.gather(
            *(restore(model, standings.get(model.name), context) for model in self)
        )


def _told(options: RolloutOptions) -> dict[str, Any]:
    return {
        "cause": options.cause.value,
        "force": options.force,
        "allow_signature_change": options.allow_signature_change,
    }


def _options(asked: Mapping[str, Any]) -> RolloutOptions:
    return RolloutOptions(Cause(asked["cause"]), asked["force"], asked["allow_signature_change"])
