"""An unknown model or version is 404, with a list of the existing ones."""

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATHS = [
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/{}/ready"),
    ("GET", "/v2/models/{}/config"),
    ("GET", "/v2/models/{}/stats"),
    ("GET", "/v2/models/{}/trace/setting"),
    ("POST", "/v2/models/{}/trace/setting"),
    ("GET", "/v1/models/{}"),
]
VERSION_PATHS = [
    "/v2/models/digits/versions/{}",
    "/v2/models/digits/versions/{}/ready",
    "/v2/models/digits/versions/{}/config",
    "/v2/models/digits/versions/{}/stats",
    "/v1/models/digits/versions/{}",
]


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_an_unknown_model_is_404_and_the_existing_models_are_listed(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    reply = await client.request(method, path.format("nobody"))
    text = 'there is no model "nobody"; this server has "diabetes", "digits"'
    assert (reply.status_code, reply.json()) == (404, {"error": text})


@pytest.mark.parametrize("version", ["9", "1.5", "latest", "-1", "0", "٣", "9" * 5000])
@pytest.mark.parametrize("path", VERSION_PATHS)
async def test_an_unknown_or_invalid_version_is_404(
    client: httpx.AsyncClient, path: str, version: str
) -> None:
    reply = await client.get(path.format(version))
    assert reply.status_code == 404
    assert 'model "digits" version' in reply.json()["error"]
    assert "(loaded: 2)" in reply.json()["error"]
