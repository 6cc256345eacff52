"""JSON of figures is read by strict readers, whatever the figures are."""

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from service.core.figures import dumps, finite

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text("abc"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=10,
)


@given(VALUES)
def test_strict_readers_take_it(value: Any) -> None:
    assert json.loads(dumps(value)) == finite(value)
    orjson.loads(dumps(value))


def test_only_what_is_not_finite_becomes_null() -> None:
    value = {"a": [float("inf"), 1.5, (float("nan"), "NaN")], "b": -float("inf"), "c": True}
    assert dumps(value) == '{"a": [null, 1.5, [null, "NaN"]], "b": null, "c": true}'
