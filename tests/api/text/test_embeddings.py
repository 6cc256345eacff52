"""Embeddings of a tiny model, in this process."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from tests.api.text.served import infer_texts, text_server
from tests.inprocess import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with text_server(tmp_path_factory.mktemp("models")) as each:
        yield each


async def embeddings(tiny: Served, **asked: Any) -> httpx.Response:
    return await tiny.client.post("/v1/embeddings", json={"model": "emb", "input": "dog"} | asked)


async def test_embeddings_are_the_same_as_of_the_data_plane(tiny: Served) -> None:
    texts = ["the dog", "sea", "the old cat is in paris"]
    answer = (await embeddings(tiny, input=texts)).json()
    tensors = (await tiny.client.post("/v2/models/emb/infer", json=infer_texts(*texts))).json()
    (output,) = tensors["outputs"]
    assert (output["name"], output["shape"]) == ("embedding", [3, 6])
    found = [each["embedding"] for each in answer["data"]]
    np.testing.assert_allclose(np.array(found).ravel(), output["data"], atol=1e-6)
    assert answer["usage"] == {"prompt_tokens": 4 + 3 + 8, "total_tokens": 15}


@pytest.mark.parametrize(
    ("asked", "status", "param", "told"),
    [
        ({"model": "nobody"}, 404, None, 'model "nobody"'),
        ({"model": "cls"}, 400, None, "task classification, expected embedding"),
        ({"model": "same_fp32"}, 400, None, "takes no texts"),
        ({"dimensions": 7}, 400, None, "the embedding has 6"),
        ({"input": [999]}, 400, None, "999 is not a token id"),
        ({"input": ""}, 200, None, ""),
        ({"input": "the " * 99, "truncate": False}, 400, None, "text 0 has more than 64 tokens"),
        ({"input": []}, 400, "input", "not empty"),
        ({"stream": True}, 400, "stream", "unrecognized request argument"),
    ],
)
async def test_errors_have_openais_form(
    tiny: Served, asked: dict[str, Any], status: int, param: str | None, told: str
) -> None:
    answer = await embeddings(tiny, **asked)
    assert answer.status_code == status
    if status != 200:
        error = answer.json()["error"]
        assert told in error["message"] and (error["param"] or "").split(".")[0] == (param or "")


async def test_requests_are_counted_with_their_texts(tiny: Served) -> None:
    async def rows() -> float:
        page = (await tiny.client.get("/metrics")).text
        name = "quantserve_requests_total{"
        lines = [each for each in page.splitlines() if each.startswith(name)]
        return sum(
            float(each.rpartition(" ")[2])
            for each in lines
            if 'model="emb"' in each and 'protocol="openai"' in each and 'outcome="ok"' in each
        )

    before = await rows()
    await embeddings(tiny, input=["a", "the"])
    assert await rows() == before + 1


async def test_documented_examples_name_the_models_of_each_task(tiny: Served) -> None:
    paths = (await tiny.client.get("/openapi.json")).json()["paths"]
    models = {"/v1/embeddings": "emb", "/embed": "emb", "/rerank": "rank", "/predict": "cls"}
    for path, model in models.items():
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        assert list(content["examples"]) == [model]
        value = content["examples"][model]["value"]
        assert (await tiny.client.post(path, json=value)).status_code == 200


async def test_metadata_lists_tensors_task_and_texts(tiny: Served) -> None:
    found = (await tiny.client.get("/v2/models/emb")).json()
    assert [each["name"] for each in found["inputs"]] == [
        "input_ids",
        "attention_mask",
        "token_type_ids",
    ]
    parameters = found["parameters"]
    assert parameters["task"] == "embedding"
    assert parameters["text_inputs"] == '"text" BYTES [-1]'
    assert parameters["text_outputs"] == '"embedding" FP32 [-1, 6]'
