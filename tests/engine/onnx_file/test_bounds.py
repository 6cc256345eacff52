"""Constants of a file differ from values that a request may change, in graphs and functions."""

import pytest

from service.core.bounded import Step
from service.engine.onnx_file.bounds import ALL_LISTED, Bounds

LATEST = 10


def step(operator: str, *inputs: str, to: str = "y", domain: str = "") -> Step:
    return Step(domain, operator, inputs, (to,))


def reshaping(*, constant: bool, listed: bool = False) -> Bounds:
    """A graph that reshapes to "shape", which may be a tensor of the file or an input."""
    bounds = Bounds()
    bounds.entry("x")
    if constant:
        bounds.keep("shape")
    if listed or not constant:
        bounds.entry("shape")
    bounds.visit(step("Reshape", "x", "shape"))
    return bounds


def test_a_constant_size_is_bounded_and_an_input_is_not() -> None:
    assert reshaping(constant=True).broken(LATEST) == ""
    assert "operator Reshape" in reshaping(constant=False).broken(LATEST)


@pytest.mark.parametrize(("ir_version", "bounded"), [(0, False), (3, True), (4, False)])
def test_a_constant_listed_as_input_may_be_replaced_since_ir_version_4(
    ir_version: int, bounded: bool
) -> None:
    """A file without a version counts as a new file."""
    assert ALL_LISTED == 4
    found = reshaping(constant=True, listed=True).broken(ir_version)
    assert (found == "") is bounded


def test_an_output_of_a_node_is_not_a_constant_of_the_same_name() -> None:
    """A tensor attribute has the name of the node's output; only Constant returns the tensor."""
    for operator, bounded in (("Constant", True), ("ConstantOfShape", False)):
        bounds = Bounds()
        bounds.keep("shape")
        bounds.visit(step(operator, *([] if bounded else ["x"]), to="shape"))
        bounds.visit(step("Reshape", "x", "shape"))
        assert (bounds.broken(LATEST) == "") is bounded


def test_a_function_has_its_own_names() -> None:
    bounds = Bounds()
    with bounds.function("own", "grow"):
        bounds.visit(step("Reshape", "x", "shape"))
    bounds.keep("shape")
    bounds.visit(step("Reshape", "x", "shape"))
    assert "operator Reshape" in bounds.broken(LATEST)


def test_names_after_a_function_belong_to_the_graph() -> None:
    bounds = Bounds()
    with bounds.function("own", "copy"):
        bounds.visit(step("Identity", "x"))
    bounds.keep("shape")
    bounds.visit(step("copy", "x", to="z", domain="own"))
    bounds.visit(step("Reshape", "z", "shape"))
    assert bounds.broken(LATEST) == ""


def test_an_operator_of_another_domain_is_unbounded_unless_the_file_defines_it() -> None:
    bounds = Bounds()
    bounds.visit(step("copy", "x", domain="own"))
    assert bounds.broken(LATEST) == "operator own.copy"
    with bounds.function("own", "copy"):
        pass
    assert bounds.broken(LATEST) == ""
