"""The documentation of inference matches the answers."""

from pathlib import Path

import httpx
import pytest

from service.api.openapi.inference import InferenceResponse, PredictResponse
from tests.api.openapi.documents import openapi
from tests.inprocess import serve
from tests.repositories import put, scale

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("model", ["diabetes", "digits"])
async def test_inference_answers_match_their_documented_schema(
    client: httpx.AsyncClient, model: str
) -> None:
    paths = (await openapi(client))["paths"]
    for path, answer in (
        ("/v2/models/{name}/infer", InferenceResponse),
        ("/v1/models/{name}:predict", PredictResponse),
    ):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        body = content["examples"][model]["value"]
        reply = await client.post(path.replace("{name}", model), json=body)
        parsed = answer.model_validate_json(reply.content, strict=True)
        assert set(reply.json()) <= set(answer.model_fields) and parsed


async def test_csv_is_documented_with_a_valid_example(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    async with serve(tmp_path) as served:
        document = await openapi(served.client)
        content = document["paths"]["/v1/models/{name}:predict"]["post"]["requestBody"]["content"]
        text = content["text/csv"]["examples"]["m"]["value"]
        assert text == "x0,x1\n0.5,1.2\n"
        reply = await served.client.post(
            "/v1/models/m:predict", content=text, headers={"content-type": "text/csv"}
        )
    assert reply.json()["predictions"] == [pytest.approx([1.0, 2.4])]
