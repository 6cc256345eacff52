"""The steps that bring memory in line with the disk: serve, load, unload.

The caller holds the model's lock. ``serve`` is a whole swap: the old version serves until the one
synchronous line in which the new one takes over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from service.core.checks import Check
from service.core.errors import GateFailed, NotPersisted
from service.core.events import Swapped
from service.core.ledger import Work
from service.core.lifecycle import State
from service.core.versions import surplus
from service.engine.loading.loader import least_cache
from service.engine.repository import pinning
from service.engine.repository.context import Context
from service.engine.repository.gate import room_check
from service.engine.repository.model import Model
from service.engine.repository.report import Phase
from service.engine.repository.rollout import Rollout
from service.engine.repository.rollout_options import Cause, Pinning, RolloutOptions
from service.engine.repository.version import UNLOADED, ModelVersion
from service.engine.storage.quarantine import write_quarantine

KEPT_DRAIN_TIMEOUT = 5.0
"""Seconds to wait until a version that stays loaded is idle. It may still get requests by
number."""


@dataclass(frozen=True, slots=True)
class Served:
    """The result of a swap.

    ``old`` is 0 if no version served before. ``forced`` names the checks that failed and were
    waived. ``not_persisted`` says why a restart will not keep the choice, "" if it will.
    ``changed`` is False if the version served already.
    """

    model: str
    old: int
    new: int
    changed: bool = True
    forced: str = ""
    not_persisted: str = ""
    phases: tuple[Phase, ...] = ()
    checks: tuple[Check, ...] = ()


async def serve(model: Model, number: int, options: RolloutOptions, context: Context) -> Served:
    """Let a version serve: load it unless it is loaded, judge it, switch, drain.

    Raises:
        GateFailed: the version is not fit to serve; the old version stays in service.
        NotPersisted: the choice cannot be written to disk; the old version stays in service.
    """
    rollout = await _candidate(model, number, model.serving, options, context)
    version, replaced = rollout.version, model.versions.get(number)
    before = model.serving.number if model.serving else 0
    not_persisted = await _pinned(model, rollout, before, options, context)
    with rollout.report.phase("switch"):
        version.v1_outputs = rollout.v1_outputs
        old = model.switch(version, rollout.forced)
    context.observe(Swapped(model.name, before, number, options.cause, rollout.forced))
    with suppress(asyncio.CancelledError), rollout.report.phase("drain"):
        await _retire(model, old, replaced if replaced is not version else None, context)
    done = (tuple(rollout.report.phases), tuple(rollout.report.checks))
    return Served(model.name, before, number, True, rollout.forced, not_persisted, *done)


async def load(model: Model, number: int, options: RolloutOptions, context: Context) -> None:
    """Load a version beside the serving version.

    Raises:
        GateFailed: the version does not load, or does not pass the gate.
    """
    rollout = await _candidate(model, number, None, options, context)
    await _agreed(model, rollout, context)
    if replaced := model.add(rollout.version):
        await _stop(model, replaced, context)


async def unload(model: Model, number: int, context: Context) -> None:
    """Drain a version and free it."""
    version = model.versions[number]
    model.withdraw(version)
    await version.stop(context.drain_timeout)
    model.remove(version)


async def lift_quarantine(model: Model, numbers: Iterable[int], context: Context) -> None:
    """Release versions that crashed the server from quarantine, because an operator asks for them.

    Raises:
        NotPersisted: the quarantine file cannot be written, so that a restart would quarantine
            them again; nothing has changed.
    """
    lifted = {number for number in numbers if number in model.quarantined}
    left = {n: why for n, why in model.folder.quarantine.items() if n not in lifted}
    if left != model.folder.quarantine:
        problem = await asyncio.to_thread(write_quarantine, model.folder.path, left)
        if problem and not context.no_pin:
            raise NotPersisted(
                f'model "{model.name}": nothing was changed: {problem}; {pinning.OR_NOT_AT_ALL}'
            )
    model.lift_quarantine(lifted)
    for number in lifted:
        context.try_again(Work(model.name, number))


async def _pinned(
    model: Model, rollout: Rollout, before: int, options: RolloutOptions, context: Context
) -> str:
    """Write the choice of a version to disk, and wait for the other processes; return why it was
    not written, with --no-pin.

    Raises:
        NotPersisted: the choice cannot be written.
        GateFailed: see ``_agreed``.
    """
    version = rollout.version
    if options.pinning is Pinning.KEEP:
        await _agreed(model, rollout, context)
        return ""
    chosen = pinning.choice(
        options, version.number, before, bool(rollout.forced), rollout.v1_outputs
    )
    try:
        written = await pinning.pin(model, chosen, version.number, context)
    except (NotPersisted, asyncio.CancelledError) as error:
        if isinstance(error, NotPersisted):
            context.ballot.refuse(version.number, error)
        if model.versions.get(version.number) is not version:
            await _stop(model, version, context)
        await _free_surplus(model, context)
        raise
    try:
        await _agreed(model, rollout, context)
    except (GateFailed, asyncio.CancelledError):
        await pinning.put_back(model, written, context)
        raise
    return written.note


async def _agreed(model: Model, rollout: Rollout, context: Context) -> None:
    """Wait for the other processes that carry out the same change.

    Raises:
        GateFailed: one of them cannot switch, or the version has stopped meanwhile.
    """
    version, number = rollout.version, rollout.version.number
    evidence = {each.number: each.evidence for each in model.folder.found()}
    try:
        await context.ballot.agree(model.name, number)
    except GateFailed as error:
        if not error.again:
            model.refuse(number, evidence.get(number, ""), error.reason)
        if rollout.loaded:
            await _stop(model, version, context, error.reason)
        raise
    except asyncio.CancelledError:
        if model.versions.get(number) is not version:
            await _stop(model, version, context)
        raise
    if version.state is not State.READY:
        what = f'model "{model.name}" version {number} is not fit to serve'
        raise GateFailed(what, version.reason or "it was stopped")


async def _candidate(
    model: Model,
    number: int,
    live: ModelVersion | None,
    options: RolloutOptions,
    context: Context,
) -> Rollout:
    """See ``_ready``; other processes are notified if it fails.

    Raises:
        GateFailed: see ``_ready``.
    """
    try:
        return await _ready(model, number, live, options, context)
    except GateFailed as error:
        context.ballot.refuse(number, error)
        raise


async def _ready(
    model: Model,
    number: int,
    live: ModelVersion | None,
    options: RolloutOptions,
    context: Context,
) -> Rollout:
    """Return the rollout of a version that is READY and has passed the gate.

    A version that must be loaded is listed among the model's versions, unless a READY version has
    the same number.
    """
    there = model.versions.get(number)
    if there is not None and there.state is State.READY and model.current(there):
        rollout = Rollout(there, live, options, context, model.config.gate)
        # The version that served before must be able to serve again at once.
        if options.cause is not Cause.ROLLBACK or there is not model.previous:
            await _passes(model, number, rollout.judge)
        return rollout
    waits, crowded = options.cause in (Cause.START, Cause.POLL), False
    try:
        async with context.turns.one(waits):
            crowded = context.turns.loading > 1
            try:
                return await _loaded(model, number, live, options, context)
            finally:
                crowded = crowded or context.turns.loading > 1
    except GateFailed as error:
        if not (waits and crowded and {c.name for c in error.checks if not c.passed} == {"memory"}):
            raise
    # The memory of concurrent loads may be free again. No client retries a version that is loaded
    # at the start or by a poll.
    await context.turns.quiet()
    async with context.turns.one(waits):
        return await _loaded(model, number, live, options, context)


async def _loaded(
    model: Model,
    number: int,
    live: ModelVersion | None,
    options: RolloutOptions,
    context: Context,
) -> Rollout:
    """Load a version and run the gate; return the rollout."""
    there = model.versions.get(number)
    files, revision = model.folder.of_version(number), model.folder.revision(number)
    version = ModelVersion(
        model.name,
        number,
        files,
        model.config,
        context.observe,
        revision,
        context.ledger,
        context.timeouts.run,
        model.lose,
        context.shared_cores,
    )
    if there is None or there.state is not State.READY:
        model.add(version)
    await _make_room(model, version, context)
    proven = revision in model.proven
    rollout = Rollout(version, live, options, context, model.config.gate, proven=proven)
    await _passes(model, number, rollout.prepare)
    model.prove(revision)
    return rollout


async def _passes(model: Model, number: int, run: Callable[[], Awaitable[None]]) -> None:
    """Run the gate. If the version fails, remember the evidence and the reason."""
    evidence = {each.number: each.evidence for each in model.folder.found()}
    try:
        await run()
    except GateFailed as error:
        model.refuse(number, evidence.get(number, ""), error.reason)
        raise
    model.accept(number)


async def _make_room(model: Model, version: ModelVersion, context: Context) -> None:
    """Unload the version kept for a rollback if the memory budget is too small for both: it can be
    loaded again."""
    spare = model.previous
    if not context.memory_budget or spare is None or spare.number == version.number:
        return
    path, promised = version.files.model, context.promised()
    promised += await asyncio.to_thread(least_cache, version.files, model.config)
    room = await asyncio.to_thread(room_check, path, context.memory_budget, promised)
    if not room.passed:
        await unload(model, spare.number, context)


async def _retire(
    model: Model, old: ModelVersion | None, replaced: ModelVersion | None, context: Context
) -> None:
    """Keep the version that served before for a rollback, and drain and free the version that was
    replaced."""
    if old is not None and old is not replaced and old is not model.serving:
        model.keep(old)
        await old.wait_idle(min(KEPT_DRAIN_TIMEOUT, context.drain_timeout))
    if replaced is not None:
        await _stop(model, replaced, context)
    await _free_surplus(model, context)


async def _free_surplus(model: Model, context: Context) -> None:
    for number in surplus(model.view()):
        await unload(model, number, context)


async def _stop(
    model: Model, version: ModelVersion, context: Context, reason: str = UNLOADED
) -> None:
    model.retire(version)
    await version.stop(context.drain_timeout, reason)
    model.retired(version)
