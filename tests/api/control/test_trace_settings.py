"""Tracing is not supported, and its settings show that it is off."""

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATHS = ["/v2/trace/setting", "/v2/models/digits/trace/setting"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("change", [{}, {"trace_level": ["OFF"]}, {"trace_level": None}])
async def test_setting_the_current_values_changes_nothing(
    client: httpx.AsyncClient, path: str, change: dict[str, Any]
) -> None:
    settings = (await client.get(path)).json()
    assert settings["trace_level"] == ["OFF"]
    reply = await client.post(path, json=change)
    assert (reply.status_code, reply.json()) == (200, settings)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"trace_level": ["TIMESTAMPS"]}, "the server does not trace"),
        ({"trace_rate": "1"}, "\"trace_rate\" is '0' and cannot be changed"),
        ({"trace_speed": "1"}, '"trace_speed" is not a trace setting'),
    ],
)
async def test_tracing_cannot_be_turned_on(
    client: httpx.AsyncClient, path: str, change: dict[str, Any], text: str
) -> None:
    reply = await client.post(path, json=change)
    assert reply.status_code == 400
    assert text in reply.json()["error"]
