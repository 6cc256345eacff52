"""Routes of language models are documented only if the server has language models."""

from pathlib import Path

import pytest

from tests.api.language.served import language_server
from tests.api.openapi.documents import openapi
from tests.inprocess import serve
from tests.repositories import put, scale

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATHS = {"/v1/chat/completions", "/v1/completions", "/v2/models/{name}/generate"}


async def test_examples_name_the_serving_models(tmp_path: Path) -> None:
    async with language_server(tmp_path) as served:
        paths = (await openapi(served.client))["paths"]
        assert set(paths) >= PATHS
        body = paths["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]
        example = body["examples"]["tiny"]["value"]
        assert body["examples"].keys() == {"tiny"} and example["model"] == "tiny"
        assert (await served.client.post("/v1/completions", json=example)).status_code == 200
        name, *_ = paths["/v2/models/{name}/generate"]["post"]["parameters"]
        assert name["examples"] == {"tiny": {"value": "tiny"}}


async def test_routes_are_left_out_without_language_models(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    async with serve(tmp_path) as served:
        assert not PATHS & set((await openapi(served.client))["paths"])
