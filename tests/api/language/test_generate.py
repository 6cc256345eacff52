"""Triton's generate extension."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.api.language.served import events, language_server
from tests.inprocess import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASKED = {"text_input": "Hello", "id": "a", "parameters": {"temperature": 0, "max_tokens": 6}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with language_server(tmp_path_factory.mktemp("generate")) as found:
        yield found


async def test_a_stream_has_the_same_text_as_the_whole_answer(served: Served) -> None:
    whole = (await served.client.post("/v2/models/tiny/generate", json=ASKED)).json()
    assert (whole["model_name"], whole["model_version"], whole["id"]) == ("tiny", "2", "a")
    reply = await served.client.post("/v2/models/tiny/generate_stream", json=ASKED)
    pieces = events(reply.content)
    assert "".join(piece["text_output"] for piece in pieces) == whole["text_output"]
    assert all(piece["model_name"] == "tiny" for piece in pieces)


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("nobody/generate", 404, "nobody"),
        ("tiny/versions/x/generate", 404, '"x" is not a number'),
        ("tiny/versions/9/generate_stream", 404, "9"),
        ("same_fp32/generate", 400, "same_fp32"),
    ],
)
async def test_unknown_models_and_versions_are_named_in_the_error(
    served: Served, path: str, status: int, told: str
) -> None:
    reply = await served.client.post(f"/v2/models/{path}", json=ASKED)
    assert reply.status_code == status and told in reply.json()["error"]


async def test_a_tensor_request_to_a_language_model_is_refused(served: Served) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    reply = await served.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]})
    assert reply.status_code == 400 and "tiny" in reply.json()["error"]
