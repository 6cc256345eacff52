"""Labels of rows and of runs."""

import numpy as np
import pytest

from service.core.errors import ConfigError
from service.quantization.data.labels import flat, labels_of_runs, varies


@pytest.mark.parametrize(
    ("labels", "shape"),
    [
        ([1, 0, 2], (3,)),
        ([np.array([1]), np.array([0])], (2,)),
        ([np.arange(5), np.arange(5)], (2, 5)),
        ([np.arange(5)[None], np.arange(5)[None]], (2, 5)),
    ],
)
def test_a_run_has_one_label_or_several(labels: list, shape: tuple[int, ...]) -> None:
    found = labels_of_runs([{"y": label} for label in labels], "y")
    assert found.shape == shape
    assert not varies(found)


def test_runs_may_have_different_numbers_of_labels() -> None:
    found = labels_of_runs([{"y": np.arange(n)} for n in (3, 1, 0, 2)], "y")
    assert varies(found)
    assert [each.tolist() for each in found] == [[0, 1, 2], [0], [], [0, 1]]
    assert flat(found).tolist() == [0, 1, 2, 0, 0, 1]


def test_a_run_without_labels_is_reported() -> None:
    with pytest.raises(ConfigError, match='1 of 2 parts of the data have no labels "y"'):
        labels_of_runs([{"y": 1}, {}], "y")
