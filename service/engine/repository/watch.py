"""Poll mode: memory follows the folder, which is read at intervals.

No problem with the folder ends the polling. The observer receives an event for each poll. A problem
is logged once while it lasts.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from service.core.errors import QuantserveError
from service.core.events import Observer, Polled
from service.engine.repository.repository import ModelRepository
from service.engine.storage.folder import ModelFolder

_log = logging.getLogger("quantserve")


async def watch(
    repository: ModelRepository, seconds: float, observe: Observer = lambda _: None
) -> None:
    """Follow the folder until cancelled; load its models first. A folder that cannot be read
    changes nothing."""
    seen: Mapping[str, ModelFolder] = {}

    async def look() -> None:
        nonlocal seen
        seen = await repository.poll(seen)

    problem = ""
    while True:
        await asyncio.sleep(seconds)
        problem = await _told(look if repository.started else repository.load_all, problem, observe)


async def _told(look: Callable[[], Awaitable[None]], before: str, observe: Observer) -> str:
    """Poll once and report the result; returns the problem, if any. ``before`` is the problem of
    the last poll."""
    problem = ""
    try:
        await look()
    except QuantserveError as error:
        problem = str(error)
    except Exception as error:
        problem = f"the models folder cannot be followed: {type(error).__name__}: {error}"
        _log.debug("the models folder cannot be followed", exc_info=True)
    if problem and problem != before:
        _log.error("%s", problem)
    observe(Polled(problem))
    return problem
