"""The models that have a task, in all workers.

Dedicated workers are asked for the tasks of their models at most once a second.
"""

import asyncio
from collections.abc import Iterable, Mapping
from time import monotonic

import orjson

from service.api.text.choosing import only_model, with_task
from service.api.transport.answers import Header
from service.api.transport.collected import collected
from service.core.errors import QuantserveError
from service.core.texts import Task
from service.engine.repository.repository import ModelRepository
from service.workers.own_worker import OwnWorker

KNOWN_SECONDS = 1.0
"""Seconds for which the answer of a worker is used."""
MOST_SECONDS = 2.0
"""Seconds after which a worker that does not answer counts as not ready."""
KEYS = (b"authorization", b"x-api-key")


class Tasks:
    """Finds models by their task. ``repository`` has the models of this worker, and ``workers`` the
    workers of other models by name."""

    def __init__(self, repository: ModelRepository, workers: Mapping[str, OwnWorker]) -> None:
        self._repository = repository
        self._workers = workers
        # All mutable state: for each dedicated worker, the time at which it was last asked, and its
        # answer.
        self._asked: dict[str, tuple[float, asyncio.Future[str]]] = {}

    async def only(self, task: Task, headers: Iterable[Header]) -> str | None:
        """Return the only model with a task; None if no dedicated worker has such a model. The
        workers are asked with the keys in the ``headers`` of the request.

        Raises:
            BadArgument: several models have the task.
        """
        keys = [pair for pair in headers if pair[0] in KEYS]
        asked = [asyncio.shield(self._ask(worker, keys)) for worker in self._workers.values()]
        tasks = zip(self._workers, await asyncio.gather(*asked), strict=True)
        others = [name for name, found in tasks if found == task]
        here = [version.model for version in with_task(self._repository, task)]
        return only_model(task, [*here, *others]) if others else None

    def _ask(self, worker: OwnWorker, keys: list[Header]) -> asyncio.Future[str]:
        now = monotonic()
        at, answer = self._asked.get(worker.model, (now, None))
        if answer is None or now - at >= KNOWN_SECONDS:
            answer = asyncio.ensure_future(_task_of(worker, keys))
            self._asked[worker.model] = now, answer
        return answer


async def _task_of(worker: OwnWorker, keys: list[Header]) -> str:
    """Return the task of a worker's model; "" if it has none or is not ready."""
    path = f"/v2/models/{worker.model}"
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": keys,
    }
    try:
        async with asyncio.timeout(MOST_SECONDS):
            answer = await collected(worker.answer, scope, b"")
    except (QuantserveError, TimeoutError):
        return ""
    if answer.status != 200:
        return ""
    return str(orjson.loads(answer.body)["parameters"].get("task", ""))
