"""The versions that a model serves, as a value for another process; and the restore of a model from
such a value.

A process that starts later than others must serve the same versions as they do, although the folder
may hold newer files that the others have not loaded.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from service.core.errors import GateFailed
from service.core.lifecycle import State
from service.core.versions import Pin
from service.engine.repository import steps
from service.engine.repository.context import Context
from service.engine.repository.model import Model
from service.engine.repository.rollout_options import Cause, RolloutOptions

_log = logging.getLogger("quantserve")


@dataclass(frozen=True, slots=True)
class Standing:
    """The READY versions, the serving version, the version kept for a rollback (0: none), the
    waived checks, and the state that is not in the folder: overriding settings, a pin that was not
    written, whether the model was unloaded."""

    serving: int
    previous: int
    loaded: tuple[int, ...]
    forced: str = ""
    v1_outputs: tuple[str, ...] = ()
    override: Mapping[str, Any] = field(default_factory=dict)
    pin: Mapping[str, Any] | None = None
    unloaded: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for ``from_json``. Equal standings have equal values."""
        return {
            **asdict(self),
            "loaded": list(self.loaded),
            "v1_outputs": list(self.v1_outputs),
            "override": dict(self.override),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Standing":
        """Create a standing from the result of ``to_json``."""
        lists = {name: tuple(found[name]) for name in ("loaded", "v1_outputs")}
        return cls(**{**found, **lists})


def standing_of(model: Model) -> Standing | None:
    """Return the standing of a model, or None if no version is READY and it was not unloaded."""
    ready = sorted(n for n, found in model.versions.items() if found.state is State.READY)
    if not ready and not model.unloaded:
        return None
    serving, previous, pin = model.serving, model.previous, model.folder.pin
    return Standing(
        serving.number if serving else 0,
        previous.number if previous else 0,
        tuple(ready),
        model.forced.get(serving.number, "") if serving else "",
        serving.v1_outputs if serving else (),
        model.override,
        _pin_json(pin) if model.pin_in_memory and pin else None,
        model.unloaded,
    )


async def restore(model: Model, wanted: Standing | None, context: Context) -> None:
    """Let a model serve the same versions as in another process.

    No check but loading and warm-up can refuse a version: it passed the gate there. A version that
    cannot be loaded is left out, with the reason in its state.
    """
    async with model.lock:
        if wanted is None or wanted.unloaded:
            if wanted is not None:
                model.begin_unload()
            for number, version in list(model.versions.items()):
                if version.state is State.READY:
                    await steps.unload(model, number, context)
            model.explain(model.why_nothing_serves())
            return
        model.begin_load(wanted.override)
        folder = await asyncio.to_thread(model.read, wanted.override)
        if folder is not None and not folder.problem:
            model.look(folder)
        if wanted.pin is not None:
            outputs = tuple(wanted.pin["v1_outputs"])
            model.pin(Pin(**{**wanted.pin, "v1_outputs": outputs}), in_memory=True)
        await _bring(model, wanted, context)


async def _bring(model: Model, wanted: Standing, context: Context) -> None:
    options = RolloutOptions(Cause.START, force=True, v1_outputs=wanted.v1_outputs)
    ready = {n for n, found in model.versions.items() if found.state is State.READY}
    first = sorted(wanted.loaded, key=lambda number: number != wanted.serving)
    for number in first:
        if number not in model.on_disk and number not in ready:
            _log.error('model "%s" version %d is not on disk any more', model.name, number)
            continue
        with suppress(GateFailed):  # the version holds the reason
            if number == wanted.serving:
                if model.serving is None or model.serving.number != number:
                    await steps.serve(model, number, options, context)
                model.forced[number] = wanted.forced
            elif number not in ready:
                await steps.load(model, number, options, context)
    if wanted.previous and wanted.previous in model.versions:
        model.keep(model.versions[wanted.previous])
    for number, version in list(model.versions.items()):
        if version.state is State.READY and number not in wanted.loaded:
            await steps.unload(model, number, context)


def _pin_json(pin: Pin) -> dict[str, Any]:
    return {**asdict(pin), "v1_outputs": list(pin.v1_outputs)}
