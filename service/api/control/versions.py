"""The versions of a model: the state, figures and counters of each."""

import asyncio
import json
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api.control.lookup import NOT_FOUND, ModelName
from service.api.control.statistics import Counted
from service.core.errors import FileUnreadable
from service.core.events import Outcome
from service.core.figures import finite
from service.core.lifecycle import State
from service.core.names import REPORT_FILE
from service.core.statistics import Statistics
from service.engine.repository.model import Model, VersionStatus
from service.engine.repository.repository import ModelRepository
from service.files import read_small

REPORT_LIMIT = 2**20
Scalar = str | int | float | bool | None


class Traffic(BaseModel):
    """Requests since the server started, by outcome, and the number of answered rows."""

    requests: dict[str, int]
    rows: int


class VersionAnswer(BaseModel):
    """A version. Figures are in bytes and seconds; they are null if the version is not loaded.

    ``memory_bytes`` is the growth of the process when the version was loaded. ``cache_bytes`` is
    the further growth when the cache of a language model fills. ``forced`` names the failed checks
    of a version that was forced to serve. ``report`` is the report that was written next to the
    version when it was quantized, without its tables.
    """

    version: int = Field(examples=[2])
    state: State
    reason: str = ""
    serving: bool
    previous: bool = Field(description="kept loaded for a rollback")
    pinned: bool
    forced: str = ""
    precision: str | None = Field(None, examples=["INT8 QDQ"])
    batching: str | None = Field(None, examples=["combine"])
    file_bytes: int | None = None
    memory_bytes: int | None = None
    cache_bytes: int | None = None
    load_seconds: float | None = None
    in_flight: int | None = Field(None, description="accepted requests that are not yet answered")
    traffic: Traffic
    report: dict[str, Scalar | dict[str, Scalar]] | None = None


class VersionsAnswer(BaseModel):
    """A model's versions, lowest first. ``reason`` is the reason if no version serves."""

    model: str = Field(examples=["digits"])
    serving: int | None = Field(examples=[2])
    previous: int | None = Field(description="the version that a rollback selects")
    pinned: int | None = Field(description="None: the highest version serves after a restart")
    policy: str = Field(examples=["latest"])
    reason: str = ""
    versions: list[VersionAnswer]


def versions(repository: ModelRepository, counted: Counted) -> APIRouter:
    """Return the route that lists versions."""
    router = APIRouter(prefix="/admin/models/{name}", tags=["admin"])

    @router.get("/versions", summary="List the versions of a model", responses=NOT_FOUND)
    async def of_model(name: ModelName) -> VersionsAnswer:
        await repository.refresh()
        model = repository.model(name)
        paths = {number: model.folder.of_version(number).home for number in model.on_disk}
        reports = await asyncio.to_thread(_reports, paths)
        traffic = _traffic(await counted(), name)
        pin = model.folder.pin
        before = model.previous.number if model.previous else pin.previous if pin else None
        rows = [each for each in model.status() if each.number]
        return VersionsAnswer(
            model=name,
            serving=model.serving.number if model.serving else None,
            previous=before,
            pinned=pin.version if pin else None,
            policy=model.config.versions.policy,
            reason=model.folder.problem or ("" if model.serving else model.reason),
            versions=[_version(model, row, traffic, reports) for row in rows],
        )

    return router


def _version(
    model: Model, row: VersionStatus, traffic: dict[int, Traffic], reports: dict[int, Any]
) -> VersionAnswer:
    number, pin = row.number, model.folder.pin
    found = model.versions.get(number)
    loaded = found.loaded if found else None
    return VersionAnswer(
        version=number,
        state=row.state,
        reason=row.reason,
        serving=found is not None and found is model.serving,
        previous=found is not None and found is model.previous,
        pinned=pin is not None and pin.version == number,
        forced=model.forced.get(number, "") if loaded else "",
        precision=str(loaded.precision) if loaded else None,
        batching=loaded.plan.mode.value if loaded else None,
        file_bytes=loaded.file_bytes if loaded else None,
        memory_bytes=loaded.memory_bytes if loaded else None,
        cache_bytes=loaded.promised_bytes if loaded and loaded.language else None,
        load_seconds=loaded.load_seconds if loaded else None,
        in_flight=found.batcher.in_flight if found and found.batcher else None,
        traffic=traffic.get(number, Traffic(requests={}, rows=0)),
        report=reports.get(number),
    )


def _traffic(counted: Statistics, name: str) -> dict[int, Traffic]:
    found: dict[int, Traffic] = {}
    for (model, number, _), requests in counted.requests.items():
        if model == name and number:
            traffic = found.setdefault(number, Traffic(requests={}, rows=0))
            traffic.rows += requests.rows
            for outcome in Outcome:
                if count := requests.counts[outcome]:
                    before = traffic.requests.get(outcome.value, 0)
                    traffic.requests[outcome.value] = before + count
    return found


def _reports(folders: dict[int, Path]) -> dict[int, Any]:
    """Return the reports next to the versions, without their long parts. A report that cannot be
    read is left out: it is not a part of the version. NaN, which our reports never have, is shown
    as text."""
    found = {}
    for number, folder in folders.items():
        try:
            text = read_small(folder / REPORT_FILE, REPORT_LIMIT)
            summary = None if text is None else _summary(json.loads(text, parse_constant=str))
            orjson.dumps(summary)  # half a surrogate pair is valid for json, but not for orjson
        except (FileUnreadable, ValueError, TypeError, RecursionError):
            continue
        found[number] = summary
    return found


def _summary(report: Any) -> dict[str, Any] | None:
    if not isinstance(report, dict):
        return None
    return {key: finite(value) for key, value in report.items() if _is_small(value)}


def _is_small(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else [value]
    return all(map(_is_scalar, parts))


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
