"""Requests to language models: their metrics and their logged errors."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.api.language.answers import Exchange, masked
from service.core.errors import ExecutionFailed, NotFound
from tests.api.language.served import CHAT, language_server
from tests.inprocess import Served


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with language_server(tmp_path) as found:
        yield found


def counted(page: str) -> dict[str, float]:
    lines = [each for each in page.splitlines() if each.startswith("quantserve_requests_total{")]
    return {each.rpartition(" ")[0]: float(each.rpartition(" ")[2]) for each in lines}


async def test_requests_are_counted_by_outcome(served: Served) -> None:
    for asked in (CHAT, CHAT | {"n": 2}, CHAT | {"max_tokens": 0}, CHAT | {"model": "nobody"}):
        reply = await served.client.post(
            "/v1/chat/completions", json=asked, headers={"x-request-id": "mine"}
        )
        assert reply.headers["x-request-id"] == "mine"
    found = counted((await served.client.get("/metrics")).text)
    ok = [value for name, value in found.items() if 'outcome="ok"' in name and "tiny" in name]
    invalid = [value for name, value in found.items() if 'outcome="invalid"' in name]
    assert sum(ok) == 2 and sum(invalid) == 2
    assert not any("nobody" in name for name in found)


async def test_a_body_that_is_compressed_is_refused(served: Served) -> None:
    reply = await served.client.post(
        "/v1/chat/completions", content=b"", headers={"content-encoding": "gzip"}
    )
    assert reply.status_code == 415 and "gzip" in reply.json()["error"]["message"]


def test_unexpected_errors_are_masked_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    exchange = Exchange("openai", "mine", 0.0)
    known = NotFound("no")
    assert masked(known, exchange) is known
    told = masked(ValueError("a secret"), exchange)
    assert isinstance(told, ExecutionFailed) and str(told) == "internal error"
    assert "request mine failed: ValueError: a secret" in caplog.text
