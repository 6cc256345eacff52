"""Stores the choice of a version in serving.toml, before the switch, so that a restart keeps it.

A choice that cannot be written is refused: a restart, and other servers of the same folder, would
use another version. With ``--no-pin`` the server writes no choice.
"""

import asyncio
from typing import NamedTuple

from service.core.errors import NotPersisted
from service.core.versions import Pin
from service.engine.repository.context import Context
from service.engine.repository.model import Model
from service.engine.repository.rollout_options import Pinning, RolloutOptions
from service.engine.storage.folder import ModelFolder
from service.engine.storage.pin_file import (
    PIN_FILE,
    check_pin,
    read_pin_file,
    restore_pin_file,
    write_pin,
)

OR_NOT_AT_ALL = (
    "or start the server with --no-pin (QUANTSERVE_NO_PIN=true): then a choice applies until the"
    " next restart, and to this server alone"
)


async def check(model: Model, options: RolloutOptions, number: int, context: Context) -> None:
    """Check, before anything is loaded, that the choice of a version can be written.

    Raises:
        NotPersisted: the choice cannot be written.
    """
    if options.pinning is not Pinning.KEEP and not context.no_pin:
        wanted = Pin(number) if options.pinning is Pinning.SET else None
        if wanted is not None and _same_choice(model, number):
            return  # possibly nothing has to be written
        if problem := await asyncio.to_thread(check_pin, model.folder.path, wanted):
            raise _refusal(model, number, problem)


class Written(NamedTuple):
    """The result of ``pin``.

    ``earlier`` is the model's folder before. ``wrote`` is True if serving.toml was written;
    ``content`` is its content before. ``note`` says why it was not written, with --no-pin.
    ``by_other`` is True if another process writes the file.
    """

    earlier: ModelFolder
    wrote: bool = False
    content: bytes | None = None
    note: str = ""
    by_other: bool = False


async def pin(model: Model, chosen: Pin | None, number: int, context: Context) -> Written:
    """Write the pin of a version to serving.toml, or remove the pin for None.

    Raises:
        NotPersisted: the file cannot be written; nothing has changed.
        CancelledError: the server stops; the earlier content is restored.
    """
    folder, in_memory = model.folder, model.pin_in_memory
    if not (in_memory or folder.pin_problem) and folder.pin == chosen:
        return Written(folder)
    if context.no_pin:
        model.pin(chosen, in_memory=True)
        note = (
            f"not written to {folder.path.name}/{PIN_FILE}, because of --no-pin: a restart and"
            " other servers do not know the choice"
        )
        return Written(folder, note=note)
    if not context.ballot.leads:
        model.pin(chosen)
        return Written(folder, by_other=True)
    # A file that is no valid pin is read too: an undo must restore the same content.
    content = await asyncio.to_thread(read_pin_file, folder.path)
    written = Written(folder, True, content)
    writing = asyncio.ensure_future(asyncio.to_thread(write_pin, folder.path, chosen))
    try:
        problem = await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])  # a thread cannot be cancelled
        await put_back(model, written, context)
        raise
    if problem:
        raise _refusal(model, number, problem)
    model.pin(chosen)
    return written


async def put_back(model: Model, written: Written, context: Context) -> None:
    """Undo ``pin`` as far as the disk allows it, also for another process that wrote the pin and
    then ended."""
    earlier = written.earlier
    if written.wrote:
        await asyncio.to_thread(restore_pin_file, earlier.path, written.content)
    elif written.by_other and context.ballot.leads and not earlier.pin_problem:
        await asyncio.to_thread(write_pin, earlier.path, earlier.pin)
    model.restore_pin(earlier)


def choice(
    options: RolloutOptions, number: int, before: int, forced: bool, v1_outputs: tuple[str, ...]
) -> Pin | None:
    """Return the pin to write for a version that replaces version ``before`` (0: none)."""
    if options.pinning is Pinning.CLEAR:
        return None
    return Pin(number, before or None, forced, options.allow_signature_change, v1_outputs)


def _same_choice(model: Model, number: int) -> bool:
    pinned = model.folder.pin
    return pinned is not None and pinned.version == number


def _refusal(model: Model, number: int, problem: str) -> NotPersisted:
    return NotPersisted(
        f'model "{model.name}" version {number} does not serve, and nothing was changed: the'
        f" choice would be lost at a restart, because {problem}; {OR_NOT_AT_ALL}"
    )
