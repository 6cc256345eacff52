"""Statistics in the format of Triton's extension. Counts and times are sums since the start.

``success`` and ``fail`` together are the requests that reached a version. The whole time of a batch
is added for each of its requests, because Triton's tools divide by the successes.
``inference_count`` counts rows that were answered, ``execution_count`` runs of the graph.
``cache_hit`` and ``cache_miss`` are lookups in the response cache.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from pydantic import BaseModel

from service.api.control.lookup import NOT_FOUND, ModelName, VersionNumber, find_version
from service.core.events import Outcome
from service.core.statistics import (
    Histogram,
    Lookups,
    RequestStatistics,
    Statistics,
    Times,
    VersionStatistics,
)
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion

Counted = Callable[[], Awaitable[Statistics]]
"""Returns the current statistics."""


class Duration(BaseModel):
    """A count, and the total time in nanoseconds."""

    count: int = 0
    ns: int = 0


class ComputeStatistics(BaseModel):
    """Putting rows together, running the graph, taking rows apart."""

    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class InferenceStatistics(ComputeStatistics):
    """The time that requests spent in each phase."""

    success: Duration
    fail: Duration
    queue: Duration
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()


class BatchStatistics(ComputeStatistics):
    """Runs of one size, in rows."""

    batch_size: int


class MemoryUsage(BaseModel):
    """The growth of the process when the version was loaded."""

    type: str = "CPU"
    id: int = 0
    byte_size: int


class ModelStatistics(BaseModel):
    """One version of a model. ``last_inference`` is in milliseconds since the epoch."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    response_stats: dict[str, Duration] = {}
    batch_stats: list[BatchStatistics]
    memory_usage: list[MemoryUsage]


class AllStatistics(BaseModel):
    """One entry for each version."""

    model_stats: list[ModelStatistics]


def statistics(repository: ModelRepository, counted: Counted) -> APIRouter:
    """Return the routes for statistics."""
    router = APIRouter(tags=["statistics"])

    async def answer(versions: list[ModelVersion]) -> AllStatistics:
        found = await counted()
        return AllStatistics(model_stats=[_of_version(each, found) for each in versions])

    @router.get("/v2/models/stats", summary="Get the statistics of all models")
    async def of_all() -> AllStatistics:
        return await answer([v for model in repository for _, v in sorted(model.versions.items())])

    @router.get(
        "/v2/models/{name}/stats",
        summary="Get the statistics of a model's versions",
        responses=NOT_FOUND,
    )
    async def of_model(name: ModelName) -> AllStatistics:
        return await answer([v for _, v in sorted(repository.model(name).versions.items())])

    @router.get(
        "/v2/models/{name}/versions/{version}/stats",
        summary="Get the statistics of a version",
        responses=NOT_FOUND,
    )
    async def of_version(name: ModelName, version: VersionNumber) -> AllStatistics:
        return await answer([find_version(repository, name, version)])

    return router


def _of_version(version: ModelVersion, counted: Statistics) -> ModelStatistics:
    label = (version.model, version.number)
    found = counted.versions.get(label, VersionStatistics())
    requests = [each for key, each in counted.requests.items() if key[:2] == label]
    memory = version.loaded.memory_bytes if version.loaded else 0
    return ModelStatistics(
        name=version.model,
        version=str(version.number),
        last_inference=int(found.last * 1000),
        inference_count=sum(each.rows for each in requests),
        execution_count=found.runs,
        inference_stats=InferenceStatistics(
            success=_ended(requests, [Outcome.OK]),
            fail=_ended(requests, [outcome for outcome in Outcome if outcome is not Outcome.OK]),
            queue=_total(found.queue),
            cache_hit=_lookups(found.hits),
            cache_miss=_lookups(found.misses),
            **_compute(found.answered),
        ),
        batch_stats=[
            BatchStatistics(batch_size=rows, **_compute(times)) for rows, times in found.by_rows()
        ],
        memory_usage=[MemoryUsage(byte_size=memory)],
    )


def _ended(requests: list[RequestStatistics], outcomes: list[Outcome]) -> Duration:
    count = sum(each.counts[outcome] for each in requests for outcome in outcomes)
    seconds = sum(each.seconds[outcome] for each in requests for outcome in outcomes)
    return Duration(count=count, ns=_ns(seconds))


def _total(histogram: Histogram) -> Duration:
    return Duration(count=sum(histogram.counts), ns=_ns(histogram.total))


def _lookups(lookups: Lookups) -> Duration:
    return Duration(count=lookups.count, ns=_ns(lookups.seconds))


def _compute(times: Times) -> dict[str, Duration]:
    return {
        "compute_input": Duration(count=times.count, ns=_ns(times.assemble)),
        "compute_infer": Duration(count=times.count, ns=_ns(times.compute)),
        "compute_output": Duration(count=times.count, ns=_ns(times.split)),
    }


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
