"""The metrics page is rendered in the format that the client accepts."""

import httpx
import pytest

from service.api.control.scrape import scrape
from tests.guards import edge_of


async def render(accept: str) -> tuple[bytes, str]:
    return f"# asked for {accept}\n".encode(), "text/plain; version=1.0.0"


@pytest.mark.parametrize("accept", ["application/openmetrics-text", ""])
async def test_the_accept_header_chooses_the_format(accept: str) -> None:
    transport = httpx.ASGITransport(app=edge_of(scrape(render)))
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        reply = await client.get("/metrics", headers={"accept": accept})
    assert reply.status_code == 200
    assert reply.text == f"# asked for {accept}\n"
    assert reply.headers["content-type"] == "text/plain; version=1.0.0"


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("accept", "kind", "last"),
    [
        ("text/plain", "text/plain", ""),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text", "# EOF"),
    ],
)
async def test_the_server_offers_both_formats(
    client: httpx.AsyncClient, accept: str, kind: str, last: str
) -> None:
    reply = await client.get("/metrics", headers={"accept": accept})
    assert reply.headers["content-type"].startswith(kind)
    assert "quantserve_" in reply.text and reply.text.rstrip().endswith(last)
