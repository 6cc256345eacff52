"""Labels are matched to the output that predicts them, in every form of both."""

import numpy as np
import pytest

from service.core.errors import ConfigError
from service.quantization.data.labelled import accuracies, doubt, fitting_metric, r2s
from service.quantization.data.labels import apart

RNG = np.random.default_rng(0)
CLASSES = np.arange(30) % 3
ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]
NAMES = np.array(["cat", "dog", "eel"])[CLASSES]
TAGS = RNG.integers(0, 2, (30, 5))
MASKS = RNG.integers(0, 3, (30, 4, 4))
PADDING = RNG.random(MASKS.shape) < 0.3
MASK_SCORES = np.eye(3, dtype=np.float32)[MASKS]


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        pytest.param({"scores": ONE_HOT}, CLASSES, id="scores of classes"),
        pytest.param({"scores": ONE_HOT}, CLASSES.astype(np.float32), id="classes as floats"),
        pytest.param({"scores": ONE_HOT}, ONE_HOT.astype(int), id="one-hot labels"),
        pytest.param({"label": NAMES.astype(object), "p": ONE_HOT}, NAMES, id="texts"),
        pytest.param({"label": CLASSES + 1, "p": ONE_HOT}, CLASSES + 1, id="classes from 1"),
        pytest.param({"boxes": RNG.random((30, 4)), "p": ONE_HOT}, CLASSES, id="second output"),
        pytest.param({"p": CLASSES[:, None] % 2 * 0.2 + 0.4}, CLASSES % 2, id="a probability"),
        pytest.param({"logit": (CLASSES % 2) * 0.4 - 0.2}, CLASSES % 2, id="a logit"),
        pytest.param({"tags": TAGS * 0.9}, TAGS, id="several tags"),
        pytest.param({"tags": TAGS * 0.9}, TAGS.astype(np.float32), id="several tags as floats"),
        pytest.param({"m": np.moveaxis(MASK_SCORES, -1, 1)}, MASKS, id="masks, channels first"),
        pytest.param({"m": MASK_SCORES}, MASKS, id="masks, channels last"),
        pytest.param({"m": MASK_SCORES}, np.where(PADDING, -100, MASKS), id="places without"),
    ],
)
def test_predicted_classes_are_compared_with_labels(outputs: dict, labels: np.ndarray) -> None:
    assert fitting_metric(outputs, labels) == "accuracy"
    assert accuracies(outputs, outputs, labels) == (1.0, 1.0)


def test_a_candidate_is_interpreted_like_fp32() -> None:
    labels = CLASSES % 2
    want = {"logit": labels * 2.0 - 1}
    got = {"logit": np.full(30, 0.3)}  # seen alone, it could be a probability
    assert accuracies(got, want, labels) == (1 / 3, 1.0)


def test_integer_quantities_are_not_classes() -> None:
    prices = RNG.integers(80, 120, 30)
    outputs = {"embedding": RNG.random((30, 7)), "price": prices[:, None].astype(np.float32)}
    assert fitting_metric(outputs, prices) == "r2"
    assert r2s(outputs, outputs, prices) == (1.0, 1.0)


def test_several_quantities_per_row_are_compared_separately() -> None:
    labels = RNG.random((30, 4))
    assert fitting_metric({"y": labels}, labels) == "r2"
    assert r2s({"y": labels + 1}, {"y": labels}, labels)[0] < 0


@pytest.mark.parametrize("labels", [CLASSES + 1, NAMES, RNG.random((30, 2))])
def test_labels_that_match_no_output_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r'fit none of the outputs \("scores" float32 \[30, 3\]'):
        fitting_metric({"scores": ONE_HOT}, labels)


@pytest.mark.parametrize(
    ("metric", "reference", "doubted"),
    [("accuracy", 0.6, False), ("accuracy", 1 / 3, True), ("r2", 0.1, False)],
)
def test_an_accuracy_no_better_than_a_constant_answer_is_doubted(
    metric: str, reference: float, doubted: bool
) -> None:
    assert bool(doubt(metric, reference, CLASSES)) == doubted
    assert not doubt(metric, reference, None)


def test_positions_without_a_label_do_not_count_as_a_frequent_class() -> None:
    labels = apart([np.array([-100, -100, 0]), np.array([1, -100])])
    assert not doubt("accuracy", 0.6, labels)
    assert doubt("accuracy", 0.5, labels)
