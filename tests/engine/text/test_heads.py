import numpy as np
import pytest

from service.core.errors import ExecutionFailed
from service.core.tensors import Arrays
from service.core.texts import Pooling, Task
from service.engine.text.heads import Head, HeadedRun, normalized, pool, sigmoid, softmax

STATES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
MASK = np.array([[1, 1, 0], [1, 1, 1]], np.int64)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (Pooling.CLS, [STATES[0, 0], STATES[1, 0]]),
        (Pooling.LAST, [STATES[0, 1], STATES[1, 2]]),
        (Pooling.MEAN, [STATES[0, :2].mean(0), STATES[1].mean(0)]),
    ],
)
def test_pooling_ignores_padding(pooling: Pooling, expected: list[np.ndarray]) -> None:
    np.testing.assert_allclose(pool(STATES, MASK, pooling), expected, rtol=1e-6)


def test_without_a_mask_all_positions_are_tokens() -> None:
    np.testing.assert_allclose(pool(STATES, None, Pooling.MEAN), STATES.mean(1), rtol=1e-6)
    np.testing.assert_array_equal(pool(STATES, None, Pooling.LAST), STATES[:, 2])


def test_the_outputs_of_a_head_follow_the_outputs_of_the_graph() -> None:
    asked: list[tuple[int, ...] | None] = []

    def run(arrays: Arrays, places: tuple[int, ...] | None, control: object) -> Arrays:
        asked.append(places)
        every = (STATES * 2, STATES)
        return every if places is None else tuple(every[place] for place in places)

    head = Head(Task.EMBEDDING, 1, 0, 2, Pooling.CLS)
    headed = HeadedRun(run, head)
    (found,) = headed((MASK,), (2,), None)
    np.testing.assert_array_equal(found, STATES[:, 0])
    assert len(headed((MASK,), None, None)) == 2 and len(headed((MASK,), (0,), None)) == 1
    assert asked == [(1,), None, (0,)]


def test_pooled_outputs_are_unchanged() -> None:
    head = Head(Task.EMBEDDING, 0, None, 1)
    np.testing.assert_array_equal(head.apply((), STATES[:, 0])[0], STATES[:, 0])


def test_labels_and_scores_of_tokens() -> None:
    head = Head(Task.TOKEN_CLASSIFICATION, 0, None, 1)
    labels, scores = head.apply((), np.array([[[0.0, 2.0], [1.0, 1.0]]], np.float16))
    assert labels.tolist() == [[1, 0]] and head.places == (1, 2)
    np.testing.assert_allclose(scores, [[1 / (1 + np.exp(-2)), 0.5]], rtol=1e-3)


def test_one_score_per_row_may_have_no_second_axis() -> None:
    assert Head(Task.RERANKING, 0, None, 1).apply((), np.zeros(3))[0].shape == (3, 1)


@pytest.mark.parametrize("task", list(Task))
def test_outputs_of_another_shape_fail_the_run(task: Task) -> None:
    with pytest.raises(ExecutionFailed, match=f"{task} needs an output with . axes"):
        Head(task, 0, None, 1).apply((), np.zeros((1, 1, 1, 1)))


def test_softmax_sigmoid_and_normalization() -> None:
    values = np.array([[1000.0, 0.0], [-1000.0, 0.0]], np.float32)
    np.testing.assert_allclose(softmax(values), [[1, 0], [0, 1]])
    np.testing.assert_allclose(sigmoid(values), [[1, 0.5], [0, 0.5]])
    np.testing.assert_allclose(normalized(np.array([[3.0, 4.0], [0, 0]])), [[0.6, 0.8], [0, 0]])
