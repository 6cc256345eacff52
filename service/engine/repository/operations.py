"""The operations on one model: swap, roll back, load, unload, and follow its folder.

Each operation holds the model's lock until it ends, and reads the folder first. Concurrent
operations wait, and then see the result of the operation before.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Literal

from service.core.errors import Conflict, GateFailed, LoadFailed, NotFound
from service.core.lifecycle import State
from service.core.versions import candidates
from service.engine.repository import pinning, steps
from service.engine.repository.context import Context
from service.engine.repository.converge import converge
from service.engine.repository.model import Model
from service.engine.repository.rollout_options import Cause, Pinning, RolloutOptions
from service.engine.repository.steps import Served
from service.engine.repository.version import ModelVersion
from service.engine.storage.folder import ModelFolder, Override
from service.engine.storage.quarantine import write_quarantine

Choice = int | Literal["latest"]

_log = logging.getLogger("quantserve")


async def swap(model: Model, choice: Choice, options: RolloutOptions, context: Context) -> Served:
    """Let another version serve, and pin it. "latest" selects the highest version on disk, and
    removes the pin.

    Raises:
        NotFound: the version is not on disk.
        GateFailed: the version is not fit to serve; the old version stays in service.
        NotPersisted: the choice cannot be written to the folder; the old version stays in service.
        LoadFailed: the model's settings cannot be read.
    """
    async with model.lock:
        await _look(model)
        number = max(model.on_disk, default=0) if choice == "latest" else choice
        if number not in model.on_disk:
            has = ", ".join(map(str, model.on_disk)) or "none"
            raise NotFound(f'model "{model.name}" has no version {choice}; on disk: {has}')
        kind = Pinning.CLEAR if choice == "latest" else Pinning.SET
        return await _serve(model, number, replace(options, pinning=kind), context)


async def roll_back(model: Model, options: RolloutOptions, context: Context) -> Served:
    """Let the previously serving version serve again.

    Raises:
        Conflict: there is no previous version, or it is not on disk any more.
        GateFailed, NotPersisted, LoadFailed: see ``swap``.
    """
    async with model.lock:
        await _look(model)
        pinned = model.folder.pin.previous if model.folder.pin else None
        number = model.previous.number if model.previous else pinned
        if number is None or (model.serving is not None and number == model.serving.number):
            raise Conflict(f'model "{model.name}" has no version before the serving one')
        if model.previous is None and number not in model.on_disk:
            raise Conflict(f'model "{model.name}" version {number} is not on disk any more')
        return await _serve(model, number, replace(options, pinning=Pinning.SET), context)


async def load(model: Model, override: Override, context: Context) -> None:
    """Follow the model's folder: settings, versions, the version that serves. ``override``
    overrides the settings until the next load.

    Raises:
        LoadFailed: the folder has no version that may be loaded.
        GateFailed: the version that should serve is not fit to serve.
    """
    async with model.lock:
        folder = await asyncio.to_thread(model.read, override)
        chosen = _loadable(model.name, folder)
        model.look(folder or model.folder)
        await steps.lift_quarantine(model, list(model.quarantined), context)
        model.begin_load(override)
        failed = await converge(model, Cause.LOAD, context)
        if chosen in failed:
            what = f'model "{model.name}" version {chosen} is not fit to serve'
            raise GateFailed(what, failed[chosen])


async def unload(model: Model, context: Context) -> None:
    """Drain and free all versions. The model stays unloaded until a load or swap."""
    async with model.lock:
        model.begin_unload()
        for version in model.active:
            version.begin_stop(context.drain_timeout)
        for number in list(model.versions):
            await steps.unload(model, number, context)
        model.forget_refusals()


async def follow(model: Model, before: ModelFolder | None, context: Context) -> bool:
    """Bring memory in line with the folder; return False if the folder is gone.

    Files that have changed since ``before`` are still being written, and are left to the next call.
    With None, all files count as complete. Unreadable settings change nothing.
    """
    async with model.lock:
        # Read under the lock, not in the poll of all models: a swap may have run in between.
        folder = await asyncio.to_thread(model.read, model.override)
        if folder is not None and folder.problem:
            if folder.problem != model.folder.problem:
                _log.error('model "%s": %s', model.name, folder.problem)
            model.report_problem(folder.problem)
            return True
        model.look(folder or ModelFolder(model.folder.path))
        if not model.unloaded:
            await converge(model, Cause.POLL, context, before)
        return folder is not None


async def quarantine(model: Model, number: int, reason: str, context: Context) -> None:
    """Stop serving a version that crashed other processes: drain it, and let a lower version serve
    if one may."""
    async with model.lock:
        model.blame(number, reason)
        if context.ballot.leads:
            await asyncio.to_thread(write_quarantine, model.folder.path, model.quarantined)
        version = model.versions.get(number)
        if version is not None and version.state is State.READY:
            model.withdraw(version)
            await version.stop(context.drain_timeout, reason)
        if not model.unloaded:
            await converge(model, Cause.POLL, context)


async def _serve(model: Model, number: int, options: RolloutOptions, context: Context) -> Served:
    await pinning.check(model, options, number, context)
    await steps.lift_quarantine(model, [number], context)
    serving = model.serving
    if serving is not None and serving.number == number and model.current(serving):
        kept = _kept_v1(serving, options)
        before, forced = model.previous, model.forced.get(number, "")
        earlier = before.number if before else 0
        chosen = pinning.choice(options, number, earlier, bool(forced), kept)
        written = await pinning.pin(model, chosen, number, context)
        serving.v1_outputs = kept
        return Served(model.name, number, number, False, forced, written.note)
    return await steps.serve(model, number, options, context)


def _kept_v1(serving: ModelVersion, options: RolloutOptions) -> tuple[str, ...]:
    """Return the outputs that V1 answers from now on; () for all.

    Raises:
        Conflict: V1 answers only some outputs, and the pin that stores this would be removed.
    """
    if options.allow_signature_change:
        return ()
    if serving.v1_outputs and options.pinning is Pinning.CLEAR:
        kept = " and ".join(f'"{name}"' for name in serving.v1_outputs)
        raise Conflict(
            f'model "{serving.model}" version {serving.number}: V1 answers {kept} alone, as'
            " before the last swap, and only the pin stores this; to let V1 answer all outputs:"
            ' --allow-signature-change, or {"allow_signature_change": true} in the body'
        )
    return serving.v1_outputs


async def _look(model: Model) -> None:
    """Read the model's folder again.

    Raises:
        LoadFailed: the folder or its settings cannot be read.
    """
    folder = await asyncio.to_thread(model.read, model.override)
    if folder is not None and folder.problem:
        raise LoadFailed(f'model "{model.name}": {folder.problem}')
    model.look(folder or ModelFolder(model.folder.path))


def _loadable(name: str, folder: ModelFolder | None) -> int:
    """Return the version that should serve.

    Raises:
        LoadFailed: no version on disk may serve.
    """
    if folder is None or folder.problem:
        raise LoadFailed(f'model "{name}": {folder.problem if folder else "its folder is gone"}')
    pin = folder.pin.version if folder.pin else None
    first = next(iter(candidates(folder.numbers, pin, folder.policy)), None)
    if first is None:
        has = ", ".join(map(str, folder.numbers)) or "none"
        raise LoadFailed(f'model "{name}": no version on disk may be loaded (on disk: {has})')
    return first
