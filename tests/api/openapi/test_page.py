"""The interactive documentation loads nothing from other hosts."""

import re

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_documentation_page_loads_files_only_from_this_server(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href|url)[=:]\s*["\']([^"\']+)', page.text)
    assert "openapi.json" in links and len(links) >= 4
    for link in links:
        assert not re.match(r"\w+:|/", link), f"{link} is on another host, or not below a prefix"
        assert (await client.get(link)).status_code == 200, link
    missing = await client.get("/docs/assets/other.js")
    assert (missing.status_code, set(missing.json())) == (404, {"error"})
