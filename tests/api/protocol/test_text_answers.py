import base64
import json

import numpy as np

from service.api.protocol import text_answers

VECTORS = np.array([[0.5, -1.0], [2.0, 0.25]], np.float32)


def test_embeddings_as_numbers_and_in_base64() -> None:
    plain = json.loads(text_answers.embeddings("m", VECTORS, 7, base64=False))
    assert [each["embedding"] for each in plain["data"]] == VECTORS.tolist()
    assert [each["index"] for each in plain["data"]] == [0, 1]
    assert plain["usage"] == {"prompt_tokens": 7, "total_tokens": 7} and plain["model"] == "m"
    packed = json.loads(text_answers.embeddings("m", VECTORS[:, ::-1], 7, base64=True))
    data = base64.b64decode(packed["data"][1]["embedding"])
    np.testing.assert_array_equal(np.frombuffer(data, "<f4"), VECTORS[1, ::-1])


def test_embed_answers() -> None:
    assert json.loads(text_answers.embed(VECTORS)) == VECTORS.tolist()


def test_the_best_scores_are_first() -> None:
    scores = np.array([0.25, 0.75, 0.5], np.float32)
    found = json.loads(text_answers.rerank(scores, None))
    assert [each["index"] for each in found] == [1, 2, 0] and found[0]["score"] == 0.75
    assert json.loads(text_answers.rerank(scores, ["a", "b", "c"]))[0]["text"] == "b"
    assert json.loads(text_answers.predict(scores[None], ["x", "y", "z"], single=True)) == [
        {"score": 0.75, "label": "y"},
        {"score": 0.5, "label": "z"},
        {"score": 0.25, "label": "x"},
    ]
    assert len(json.loads(text_answers.predict(scores[None], ["x", "y", "z"], single=False))) == 1
