"""The order of recipes, and recipes that are skipped, from given speeds of formats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.quantization.evaluate.kernel_speeds import _models
from service.quantization.recipes.catalogue import Half, Kind, PerRow, Recipe, Static, catalogue
from service.quantization.search.decide import Target
from service.quantization.search.formats import format_of, hopeless, ordered

DENSE = frozenset({Kind.DENSE})
EIGHT, SEVEN = "INT8 U8S8 (static QDQ)", "INT8 U8S8, 7-bit weights"


@given(
    st.dictionaries(
        st.sampled_from([EIGHT, SEVEN, "INT8 U8U8 (static QDQ)", "INT8 S8S8 (static QDQ)", "FP16"]),
        st.floats(0.01, 10),
    ),
    st.sampled_from([frozenset({kind}) for kind in Kind if kind is not Kind.TREE]),
    st.booleans(),
)
def test_each_recipe_occurs_once_and_kinds_keep_their_order(
    speeds: dict[str, float], kinds: frozenset[Kind], saturates: bool
) -> None:
    before = catalogue(kinds, saturates)
    after = ordered(before, speeds)
    assert sorted(map(repr, after)) == sorted(map(repr, before))
    assert [r.method.kind for r in after] == [r.method.kind for r in before]
    assert ordered(before, {}) == before


def test_faster_formats_are_tried_first() -> None:
    recipes = (Recipe("8", Static()), Recipe("7", Static(reduce_range=True)))
    assert [r.name for r in ordered(recipes, {EIGHT: 2.6, SEVEN: 2.7})] == ["8", "7"]  # a tie
    assert [r.name for r in ordered(recipes, {EIGHT: 1.4, SEVEN: 2.1})] == ["7", "8"]


@pytest.mark.parametrize("target", [Target.LATENCY, Target.THROUGHPUT])
def test_a_format_that_is_slower_than_fp32_is_not_built(target: Target) -> None:
    half = Recipe("FP16", Half())
    told = hopeless(half, {"FP16": 0.41}, DENSE, target)
    assert told == "not tried: products of FP16 run at 0.41 x FP32's speed here"
    assert hopeless(half, {"FP16": 0.95}, DENSE, target) == ""
    assert hopeless(half, {}, DENSE, target) == ""
    assert hopeless(half, {"FP16": 0.41}, frozenset({Kind.CONV}), target) == ""


@pytest.mark.parametrize("target", [Target.SIZE, Target.MEMORY])
def test_slow_formats_are_built_for_size_targets(target: Target) -> None:
    assert hopeless(Recipe("FP16", Half()), {"FP16": 0.41}, DENSE, target) == ""


def test_every_format_is_measured() -> None:
    measured = _models(np.ones((2, 2), np.float32))
    methods = [Static(), Static(reduce_range=True), Static(weights="U8"), Static(activations="S8"),
               PerRow(), PerRow(reduce_range=True), Half()]  # fmt: skip
    assert {format_of(method) for method in methods} <= measured.keys()
