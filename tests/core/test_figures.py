"""Strict JSON parsers accept the figures, whatever their values."""

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
def test_strict_json_parsers_accept_the_output(value: Any) -> None:
    assert json.loads(dumps(value)) == finite(value)
    orjson.loads(dumps(value))


def test_only_non_finite_values_become_null() -> None:
    value = {"a": [float("inf"), 1.5, (float("nan"), "NaN")], "b": -float("inf"), "c": True}
    assert dumps(value) == '{"a": [null, 1.5, [null, "NaN"]], "b": null, "c": true}'
