"""The log level can be changed while the server runs; other log settings cannot, with an error."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.api.control.log_settings import log_changes, log_settings
from tests.guards import edge_of


@pytest.fixture
def logger() -> logging.Logger:
    return logging.Logger("of this test", logging.INFO)


@pytest_asyncio.fixture
async def settings(logger: logging.Logger) -> AsyncIterator[httpx.AsyncClient]:
    async def set_level(level: int) -> None:
        logger.setLevel(level)

    routes = log_settings(logger), log_changes(logger, set_level)
    transport = httpx.ASGITransport(app=edge_of(*routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


CHANGES = [
    ({}, logging.INFO),
    ({"log_verbose_level": 1}, logging.DEBUG),
    ({"log_verbose_level": 4}, logging.DEBUG),
    ({"log_info": False}, logging.WARNING),
    ({"log_warning": False}, logging.ERROR),
    ({"log_error": False}, logging.CRITICAL + 10),
    ({"log_info": True, "log_file": ""}, logging.INFO),
]


@pytest.mark.parametrize(("change", "level"), CHANGES)
async def test_a_change_takes_effect_and_can_be_undone(
    settings: httpx.AsyncClient, logger: logging.Logger, change: dict[str, Any], level: int
) -> None:
    before = (await settings.get("/v2/logging")).json()
    after = (await settings.post("/v2/logging", json=change)).json()
    assert logger.level == level
    assert after == (await settings.get("/v2/logging")).json()
    undone = await settings.post("/v2/logging", json=dict.fromkeys(before))
    assert undone.json() == before
    assert logger.level == logging.INFO


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"log_file": "/tmp/log"}, "\"log_file\" is '' and cannot be changed"),
        ({"log_format": "ISO8601"}, "cannot be changed while the server runs"),
        (
            {"log_level": "debug"},
            '"log_level" is not a log setting; the log settings are log_file, ',
        ),
        ({"log_info": 1}, '"log_info" must be true or false, got 1'),
        ({"log_verbose_level": True}, '"log_verbose_level" must be an integer, got True'),
        ({"log_info": True, "log_error": False}, "the requested values contradict this"),
    ],
)
async def test_invalid_settings_are_refused_and_change_nothing(
    settings: httpx.AsyncClient, logger: logging.Logger, change: dict[str, Any], text: str
) -> None:
    reply = await settings.post("/v2/logging", json=change)
    assert reply.status_code == 400
    assert text in reply.json()["error"]
    assert logger.level == logging.INFO
