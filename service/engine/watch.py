"""Poll mode: the folder is looked at again and again, and memory follows."""

import asyncio
import logging
from collections.abc import Mapping

from service.core.errors import ConfigError
from service.engine.folder import ModelFolder
from service.engine.repository import ModelRepository

_log = logging.getLogger("quantserve")


async def watch(repository: ModelRepository, seconds: float) -> None:
    """Follow the folder until cancelled. A folder that cannot be read changes nothing; that is
    logged once, until it can be read again."""
    seen: Mapping[str, ModelFolder] = {}
    problem = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            seen, problem = await repository.poll(seen), ""
        except ConfigError as error:
            if str(error) != problem:
                problem = str(error)
                _log.error("%s", problem)
