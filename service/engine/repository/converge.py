"""The loop that brings memory in line with the disk, step by step, until nothing is left to do."""

from service.core.errors import GateFailed
from service.core.versions import Load, Serve, next_action
from service.engine.repository import steps
from service.engine.repository.context import Context
from service.engine.repository.model import Model
from service.engine.repository.rollout_options import Cause, RolloutOptions
from service.engine.storage.folder import ModelFolder


async def converge(
    model: Model, cause: Cause, context: Context, before: ModelFolder | None = None
) -> dict[int, str]:
    """Take steps until memory agrees with the folder; return the versions that failed, with the
    reason.

    Versions whose files have changed since ``before`` are left to a later call. A folder whose
    settings cannot be read causes no step.
    """
    failed: dict[int, str] = {}
    while not model.folder.problem and (action := next_action(model.view(before))):
        number, chosen = action.number, model.folder.pin
        options = RolloutOptions(cause)
        if chosen is not None and chosen.version == number:
            options = RolloutOptions(
                cause, chosen.forced, chosen.signature_change, v1_outputs=chosen.v1_outputs
            )
        try:
            if isinstance(action, Serve):
                await steps.serve(model, number, options, context)
            elif isinstance(action, Load):
                await steps.load(model, number, options, context)
            else:
                await steps.unload(model, number, context)
        except GateFailed as error:
            failed[number] = error.reason
            if error.again:
                break
    model.explain(model.why_nothing_serves())
    return failed


def has_work(model: Model, folder: ModelFolder, before: ModelFolder) -> bool:
    """Return True if a folder, as just read, requires a step of the model. Files that have changed
    since ``before`` are still being written."""
    if folder.problem:
        return folder.problem != model.folder.problem
    if folder != model.folder:
        return True
    return not model.unloaded and next_action(model.view(before)) is not None
