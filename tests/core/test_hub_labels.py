"""Labels in the order of their numbers, or none."""

from typing import Any

import pytest

from service.core.hub_labels import labels_of


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({"1": "b", "0": "a"}, ("a", "b")),
        ({str(n): n for n in range(12)}, tuple(map(str, range(12)))),
        ({"0": "a", "2": "c"}, ()),
        ({"zero": "a"}, ()),
        (["a"], ()),
        (None, ()),
        ({}, ()),
    ],
)
def test_labels_are_ordered_by_number_or_missing(given: Any, labels: tuple[str, ...]) -> None:
    assert labels_of(given) == labels
