"""The best classes of each image."""

import json

import numpy as np

from service.api.protocol.image_answers import labelled


def test_the_best_classes_are_first() -> None:
    scores = np.array([[0.25, 0.5, 0.125], [1, 1, np.nan]], np.float32)
    found = json.loads(labelled(scores, 2, ["a", "b"]))["predictions"]
    assert found[0] == [
        {"label": "b", "index": 1, "score": 0.5},
        {"label": "a", "index": 0, "score": 0.25},
    ]
    assert [each["index"] for each in found[1]] == [0, 1], "NaN is last"


def test_the_label_of_an_unlabelled_class_is_its_number() -> None:
    scores = np.array([[[1.0], [3.0]]])
    found = json.loads(labelled(scores, 9, []))["predictions"][0]
    assert [each["label"] for each in found] == ["1", "0"]


def test_bfloat16_and_nan_scores() -> None:
    bits = np.array([[0x3F80, 0x7FC0]], np.uint16)  # 1 and NaN
    assert json.loads(labelled(bits, 2, ["one", "none"]))["predictions"][0] == [
        {"label": "one", "index": 0, "score": 1.0},
        {"label": "none", "index": 1, "score": None},
    ]
