"""Answers of runs of several lengths, aligned with labels."""

import numpy as np

from service.quantization.data.elements import beside, stack, values
from service.quantization.data.labelled import accuracies
from service.quantization.data.labels import apart


def one_hot(classes: list[int], width: int) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[classes]


def accuracy(answers: list[np.ndarray], labels: np.ndarray) -> float:
    outputs, known = beside(["y"], [(answer,) for answer in answers], labels)
    return accuracies(outputs, outputs, known)[0]


def test_stacking_adds_a_missing_row_axis() -> None:
    assert stack([np.float32(1) * np.ones(()), np.ones(())]).shape == (2,)
    assert stack([np.ones((2, 3)), np.ones((2, 3))]).shape == (2, 2, 3)
    assert stack([np.ones((1, 3)), np.ones((1, 3))]).shape == (2, 3)
    assert [each.shape for each in stack([np.ones((1, 3)), np.ones((1, 4))])] == [(1, 3), (1, 4)]


def test_a_label_for_each_node_of_graphs_of_several_sizes() -> None:
    answers = [one_hot([0, 2], 3), one_hot([1], 3), np.zeros((0, 3), np.float32)]
    assert accuracy(answers, apart([np.array([0, 2]), np.array([0]), np.zeros(0, int)])) == 2 / 3


def test_a_label_for_each_token_with_places_that_have_none() -> None:
    answers = [one_hot([0, 2], 3)[None], one_hot([1, 1, 0], 3)[None]]
    assert accuracy(answers, apart([np.array([0, -100]), np.array([1, 0, -100])])) == 2 / 3


def test_the_class_axis_may_precede_the_positions() -> None:
    answers = [one_hot([0, 3], 4).T[None], one_hot([1, 1, 2], 4).T[None]]
    assert accuracy(answers, apart([np.array([0, 3]), np.array([1, 1, 0])])) == 4 / 5


def test_a_choice_among_varying_numbers_of_items() -> None:
    answers = [one_hot([2], 3), one_hot([4], 5), one_hot([0], 2)]
    assert accuracy(answers, np.array([2, 4, 1])) == 2 / 3


def test_an_output_without_a_value_for_each_label_is_unchanged() -> None:
    answers = [(one_hot([0, 1], 2), np.zeros((2, 1, 4))), (one_hot([1], 2), np.zeros((2, 1, 4)))]
    outputs, labels = beside(["y", "state"], answers, apart([np.array([0, 1]), np.array([1])]))
    assert outputs["y"].shape == (3, 2)
    assert outputs["state"].shape == (2, 2, 1, 4)
    assert labels.tolist() == [0, 1, 1]


def test_values_keep_the_axes_that_all_rows_have() -> None:
    assert values([np.ones((2, 1, 4))] * 3).shape == (3, 2, 1, 4)
    assert values([np.ones((2, 4)), np.ones((3, 4))]).shape == (5, 4)
    assert values([np.ones((1, 2, 4)), np.ones((1, 3, 4))]).shape == (20,)
