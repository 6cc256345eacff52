"""The estimated memory of a body is at least the memory of its objects."""

import sys
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.body_cost import announced, decoded, least, may_hold_strings, weigh
from service.core.requests import InferRequest
from service.core.tensors import DATATYPES, Tensor

VALUES = st.recursive(
    st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text(max_size=4)),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=30,
)
PARSER = 16
COLLECTOR = 16
"""Bytes of orjson for each value, and of the garbage collector for each list and dictionary."""


def size_of(value: Any) -> int:
    if isinstance(value, list):
        parts = sum(map(size_of, value)) + 8 * len(value)
        return sys.getsizeof([]) + parts + COLLECTOR + PARSER
    if isinstance(value, dict):
        parts = sum(size_of(key) + size_of(item) for key, item in value.items())
        return sys.getsizeof(value) + parts + COLLECTOR + PARSER
    return sys.getsizeof(value) + PARSER


@pytest.mark.parametrize("unit", ["1.5", "300", '"ab"', "[]", "{}", "[1]", '{"a":1}', '"\\u0001b"'])
def test_estimate_covers_bodies_of_one_kind_of_value(unit: str) -> None:
    body = f"[{','.join([unit] * 10_000)}]".encode()
    assert weigh(body, raw=False) >= size_of(orjson.loads(body))


@given(st.lists(VALUES, min_size=20, max_size=40))
def test_estimate_is_close_for_mixed_bodies(values: list[Any]) -> None:
    body = orjson.dumps(values)
    assert weigh(body, raw=False) >= 0.7 * size_of(values)


@given(st.binary(max_size=300), st.integers(0, 300), st.booleans())
def test_estimates_of_parts_add_up_to_the_whole(body: bytes, at: int, raw: bool) -> None:
    parts = weigh(body[:at], raw) + weigh(body[at:], raw)
    assert parts == weigh(bytearray(body), raw) >= least(len(body), raw)


def test_typical_numbers_fit_the_announced_estimate() -> None:
    body = orjson.dumps(np.random.default_rng(0).random(10_000).tolist())
    assert least(len(body), False) < weigh(body, False) <= announced(len(body), False)


def test_escaped_bytes_datatypes_in_a_binary_body_are_detected() -> None:
    assert may_hold_strings(b'{"datatype":"BYTES"}')
    assert may_hold_strings(rb'{"datatype":"\u0042YTES"}')
    assert not may_hold_strings(b'{"datatype":"FP32"}')


def test_decoded_size_counts_arrays_and_their_batch() -> None:
    number = Tensor("x", DATATYPES["FP32"], np.zeros(10, np.float32))
    text = Tensor("t", DATATYPES["BYTES"], np.array(["a"], object))
    assert decoded(InferRequest((number,)), 1000) == 80
    assert decoded(InferRequest((number, text)), 1000) == 1000
