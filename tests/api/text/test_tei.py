"""TEI's routes and the data plane of tiny models, in this process."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from service.api.text.tei import refused
from service.core.errors import QueueFull
from tests import tiny_texts
from tests.api.text.served import infer_texts, text_server
from tests.inprocess import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with text_server(tmp_path_factory.mktemp("models")) as each:
        yield each


async def ask(tiny: Served, path: str, status: int = 200, **asked: Any) -> Any:
    answer = await tiny.client.post(path, json=asked)
    assert answer.status_code == status, answer.text
    return answer.json()


def scores(text: str, second: str | None = None, labels: int = 3) -> np.ndarray:
    """Return the scores that the graph of a classifier computes."""
    tokenizer = tiny_texts.tokenizer()
    tokenizer.no_padding()
    encoding = tokenizer.encode(text, second)
    state = tiny_texts.states(encoding.ids, encoding.type_ids)[0]
    found: np.ndarray = state @ tiny_texts.head(labels)
    return found


async def test_embed_normalises_by_default(tiny: Served) -> None:
    (found,) = await ask(tiny, "/embed", inputs="dog")
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    (raw,) = await ask(tiny, "/embed", inputs=["dog"], normalize=False)
    assert np.linalg.norm(raw) != pytest.approx(1, abs=1e-2)
    np.testing.assert_allclose(raw / np.linalg.norm(raw), found, atol=1e-6)
    (cut,) = await ask(tiny, "/embed", inputs=["dog"], dimensions=2)
    np.testing.assert_allclose(cut, np.array(raw[:2]) / np.linalg.norm(raw[:2]), atol=1e-6)


async def test_rerank_sorts_by_the_score_of_each_pair(tiny: Served) -> None:
    texts = ["a sea", "yes", "the old dog runs in paris", "no"]
    found = await ask(tiny, "/rerank", query="how long", texts=texts, raw_scores=True)
    expected = [float(scores("how long", text, 1)[0]) for text in texts]
    assert [each["index"] for each in found] == np.argsort(expected)[::-1].tolist()
    for each in found:
        assert each["score"] == pytest.approx(expected[each["index"]], abs=1e-5)
    probable = await ask(tiny, "/rerank", query="how long", texts=texts, return_text=True)
    best = probable[0]
    assert best["text"] == texts[best["index"]]
    assert best["score"] == pytest.approx(1 / (1 + np.exp(-max(expected))), abs=1e-5)


async def test_predict_returns_all_labels_of_texts_and_pairs(tiny: Served) -> None:
    found = await ask(tiny, "/predict", inputs=[["dog"], ["sea", "is blue"]], raw_scores=True)
    for each, given in zip(found, [("dog",), ("sea", "is blue")], strict=True):
        expected = dict(zip(("bad", "good", "so"), scores(*given), strict=True))
        assert {one["label"]: one["score"] for one in each} == pytest.approx(expected, abs=1e-4)
        assert each == sorted(each, key=lambda one: -one["score"])
    single = await ask(tiny, "/predict", inputs="dog")
    assert sum(each["score"] for each in single) == pytest.approx(1, abs=1e-5)


async def test_errors_have_the_form_of_tei(tiny: Served) -> None:
    found = await ask(tiny, "/embed", 400, inputs=[])
    assert found["error_type"] == "Validation" and "not empty" in found["error"]
    found = await ask(tiny, "/rerank", 404, model="nobody", query="a", texts=["b"])
    assert "nobody" in found["error"]
    found = await ask(tiny, "/predict", 400, inputs=["a", "b", "c"])
    assert "list of lists" in found["error"]


async def test_a_full_queue_is_an_overload_with_the_seconds_to_wait() -> None:
    full = QueueFull("full")
    full.retry_after = 2.5
    response = refused(full)
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert json.loads(bytes(response.body))["error_type"] == "Overloaded"


async def test_requests_must_name_the_model_if_there_are_several(tmp_path: Path) -> None:
    tiny_texts.embedder(tmp_path / "other/1", seed=1)
    async with text_server(tmp_path) as served:
        found = await ask(served, "/embed", 400, inputs="dog")
        assert 'name one of the models "emb", "other"' in found["error"]
        first, second = [
            await ask(served, "/embed", model=name, inputs="dog") for name in ("emb", "other")
        ]
        assert first != second


async def test_labels_in_v2_answers_and_as_classes(tiny: Served) -> None:
    answer = await ask(tiny, "/v2/models/cls/infer", **infer_texts("dog", "sea"))
    label, score, every = (each["data"] for each in answer["outputs"])
    names = np.array(["bad", "good", "so"])
    assert label == [names[scores(text).argmax()] for text in ("dog", "sea")]
    assert score == np.array(every).reshape(2, 3).max(axis=1).tolist()
    wanted = [{"name": "scores", "parameters": {"classification": 1}}]
    answer = await ask(tiny, "/v2/models/cls/infer", **infer_texts("dog", outputs=wanted))
    assert answer["outputs"][0]["data"][0].endswith(f":{label[0]}")


async def test_parts_of_texts_in_v2_and_v1(tiny: Served) -> None:
    texts = ["Ann was in Paris", "the sea", "Ann " * 20]
    answer = await ask(tiny, "/v2/models/tag/infer", **infer_texts(*texts))
    found = [json.loads(each) for each in answer["outputs"][0]["data"]]
    assert any(found)
    for text, parts in zip(texts, found, strict=True):
        for part in parts:
            assert text[part["start"] : part["end"]] == part["word"]
    assert await ask(tiny, "/v1/models/tag:predict", instances=texts) == {
        "predictions": answer["outputs"][0]["data"]
    }


async def test_plain_strings_are_accepted_in_v1(tiny: Served) -> None:
    found = await ask(tiny, "/v1/models/emb:predict", instances=["dog", "sea"])
    embedded = await ask(tiny, "/embed", inputs=["dog", "sea"])
    np.testing.assert_allclose(found["predictions"], embedded, atol=1e-6)
    pair = {"text": "dog", "text_pair": "sea"}
    (score,) = (await ask(tiny, "/v1/models/rank:predict", instances=[pair]))["predictions"]
    ((first,)) = await ask(tiny, "/rerank", query="dog", texts=["sea"])
    assert score == pytest.approx(first["score"], abs=1e-6)


async def test_tensors_and_texts_in_one_request_are_refused(tiny: Served) -> None:
    both = infer_texts("dog")["inputs"] + [
        {"name": "input_ids", "datatype": "INT64", "shape": [1, 1], "data": [5]}
    ]
    found = await ask(tiny, "/v2/models/emb/infer", 400, inputs=both)
    assert 'unknown input "input_ids"' in found["error"]
    found = await ask(
        tiny,
        "/v2/models/emb/infer",
        400,
        **infer_texts("dog", outputs=[{"name": "last_hidden_state"}]),
    )
    assert 'unknown output "last_hidden_state"; the model has "embedding"' in found["error"]
