"""Graphs whose time is bounded by shapes may run in the event loop; other graphs may not."""

import pytest

from service.core.bounded import Step, unbounded_step

CONSTANTS = {"c"}


def step(operator: str, *inputs: str, to: str = "y", domain: str = "") -> Step:
    return Step(domain, operator, inputs, (to,))


BOUNDED = [
    [step("MatMul", "x", "c")],
    [step("Reshape", "x", "c")],
    [step("Reshape", "x", "")],
    [step("Constant", to="k"), step("Tile", "x", "k")],
    [step("Shape", "x", to="s"), step("Expand", "c", "s")],
    # Exporters compute sizes from shapes by several operators.
    [
        step("Shape", "x", to="s"),
        step("Gather", "s", "c", to="d"),
        step("Concat", "d", "c", to="e"),
        step("Reshape", "x", "e"),
    ],
    [step("Cast", "c", to="k"), step("Range", "c", "k", "c")],
    [step("LSTM", "x", "c", "c")],
    [step("Shape", "x", to="s"), step("Sub", "s", "c", to="d"), step("Expand", "c", "d")],
    [step("Sub", "c", "c", to="d"), step("Neg", "d", to="e"), step("Expand", "x", "e")],
    [step("QLinearConv", "x", "c", domain="ai.onnx")],
    [step("TreeEnsembleClassifier", "x", domain="ai.onnx.ml")],
    [step("QGemm", "x", "c", domain="com.microsoft")],
    [step("RandomNormalLike", "x")],
    [step("Softmax", "x"), step("TopK", "y", "c")],
]
UNBOUNDED = [
    ("Loop", [step("Loop", "n", "c")]),
    ("If", [step("Add", "x", "c", to="z"), step("If", "z")]),
    ("Scan", [step("Scan", "x")]),
    ("NonZero", [step("NonZero", "x")]),
    ("NonMaxSuppression", [step("NonMaxSuppression", "x", "c")]),
    ("SplitToSequence", [step("SplitToSequence", "x")]),
    ("ImageDecoder", [step("ImageDecoder", "x")]),
    ("Range", [step("Range", "c", "x", "c")]),
    ("ConstantOfShape", [step("ConstantOfShape", "x")]),
    ("Expand", [step("Mul", "x", "c", to="s"), step("Expand", "c", "s")]),
    ("Tile", [step("Cast", "x", to="s"), step("Tile", "c", "s")]),
    ("Resize", [step("Resize", "x", "", "", "n")]),
    ("OneHot", [step("OneHot", "c", "n", "c")]),
    ("Pad", [step("Pad", "x", "n")]),
    # What a slice gives is smaller, but its shape follows from values.
    ("Slice", [step("Slice", "x", "c", "n", to="part"), step("Shape", "part", to="s")]),
    ("Expand", [step("RandomUniform", to="r"), step("Expand", "x", "r")]),
    ("Expand", [step("Dropout", "c", to="r"), step("Expand", "x", "r")]),
    ("RoiAlign", [step("RoiAlign", "x", "n", "c")]),
    ("StringNormalizer", [step("StringNormalizer", "x")]),
    # Larger for shapes that are smaller than what was measured.
    (
        "Expand",
        [step("Shape", "x", to="s"), step("Sub", "c", "s", to="d"), step("Expand", "c", "d")],
    ),
    ("Expand", [step("Shape", "x", to="s"), step("Neg", "s", to="d"), step("Expand", "c", "d")]),
    ("Tile", [step("Shape", "x", to="s"), step("Div", "c", "s", to="d"), step("Tile", "c", "d")]),
    ("com.microsoft.BeamSearch", [step("BeamSearch", "x", domain="com.microsoft")]),
    ("com.microsoft.Range", [step("Range", "x", domain="com.microsoft")]),
    ("ai.mine.Fast", [step("Fast", "x", domain="ai.mine")]),
]


@pytest.mark.parametrize("steps", BOUNDED)
def test_graphs_bounded_by_shapes_are_recognised(steps: list[Step]) -> None:
    assert unbounded_step(steps, CONSTANTS) == ""


@pytest.mark.parametrize(("operator", "steps"), UNBOUNDED)
def test_operators_unbounded_by_shapes_are_named(operator: str, steps: list[Step]) -> None:
    assert f"operator {operator}" in unbounded_step(steps, CONSTANTS)


def test_functions_of_the_file_are_accepted_as_steps() -> None:
    steps = [step("Mine", "x", domain="ai.mine")]
    assert unbounded_step(steps, (), {("ai.mine", "Mine")}) == ""
    assert unbounded_step(steps, (), {("ai.mine", "Other")})
