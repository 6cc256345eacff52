"""The control plane: each route needs its key, and the first matching route answers."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter

from service.api.application import control_plane
from service.api.auth.middleware import Guard
from service.api.auth.policy import Access, Keys
from service.api.dataplane.inference import Inference
from service.api.openapi.example_answers import ExampleAnswers
from service.api.transport.traffic import Traffic
from service.app import set_level
from service.config.settings import Settings
from service.core.statistics import Statistics
from service.engine.repository.context import Context
from service.engine.repository.repository import ModelRepository

OPEN = ("/v2/health/live", "/metrics", "/docs")
READING = (
    *("/v2/models", "/v2/models/stats", "/openapi.json", "/v2/logging", "/v2/trace/setting"),
    "/v2",
)
CHANGING = ("/admin/hello",)


async def render(_: str) -> tuple[bytes, str]:
    return b"", "text/plain"


def extra(said: str) -> APIRouter:
    router = APIRouter()

    @router.get("/admin/hello", include_in_schema=False)
    async def hello() -> str:
        return said

    return router


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A server without models whose keys are "admin" and "api"."""
    repository = ModelRepository(tmp_path, Context(1, lambda _: None), allow_empty=True)
    inference = Inference(repository, Settings(models=tmp_path), lambda _: None, Traffic(2**20))
    access = Access(Keys.of(["admin"]), Keys.of(["api"]))
    app = control_plane(
        repository,
        ExampleAnswers(inference),
        Statistics(lambda: 0.0).now,
        render,
        logging.getLogger("test"),
        set_level,
        Guard.of(access, lambda _: None),
        reports=[extra("a report")],
        changes=[extra("a change")],
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        yield client
    inference.elsewhere.close()


@pytest.mark.parametrize("path", [*OPEN, *READING, *CHANGING])
async def test_each_route_needs_its_key(keyed: httpx.AsyncClient, path: str) -> None:
    statuses = [
        (await keyed.get(path, headers={"x-api-key": key} if key else {})).status_code
        for key in ("", "api", "admin")
    ]
    if path in OPEN:
        assert statuses == [200, 200, 200]
    elif path in READING:
        assert statuses == [401, 200, 200]
    else:
        assert statuses == [401, 403, 200]


@pytest.mark.parametrize("path", ["/v2/logging", "/v2/trace/setting"])
async def test_settings_can_be_changed_only_by_an_admin(
    keyed: httpx.AsyncClient, path: str
) -> None:
    for key, status in (("", 401), ("api", 403), ("admin", 200)):
        reply = await keyed.post(path, headers={"x-api-key": key}, content=b"{}")
        assert reply.status_code == status


async def test_the_route_of_all_statistics_is_not_a_model_named_stats(
    keyed: httpx.AsyncClient,
) -> None:
    reply = await keyed.get("/v2/models/stats", headers={"x-api-key": "api"})
    assert reply.json() == {"model_stats": []}


async def test_reading_routes_are_matched_before_changing_routes(keyed: httpx.AsyncClient) -> None:
    reply = await keyed.get("/admin/hello", headers={"x-api-key": "admin"})
    assert reply.json() == "a report"
