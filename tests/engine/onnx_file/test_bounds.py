"""Constants of a file are told from what a request may change, in the graph and each function."""

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


def test_a_size_that_is_a_constant_is_bounded_and_an_input_is_not() -> None:
    assert reshaping(constant=True).broken(LATEST) == ""
    assert "operator Reshape" in reshaping(constant=False).broken(LATEST)


@pytest.mark.parametrize(("ir_version", "bounded"), [(0, False), (3, True), (4, False)])
def test_a_constant_among_the_inputs_may_be_replaced_but_not_before_version_4(
    ir_version: int, bounded: bool
) -> None:
    """A file that does not say its version is taken for a new one."""
    assert ALL_LISTED == 4
    found = reshaping(constant=True, listed=True).broken(ir_version)
    assert (found == "") is bounded


def test_what_a_node_gives_is_no_constant_although_a_tensor_goes_by_its_name() -> None:
    """A tensor in an attribute has the name of the node's output; only that of Constant is it."""
    for operator, bounded in (("Constant", True), ("ConstantOfShape", False)):
        bounds = Bounds()
        bounds.keep("shape")
        bounds.visit(step(operator, *([] if bounded else ["x"]), to="shape"))
        bounds.visit(step("Reshape", "x", "shape"))
        assert (bounds.broken(LATEST) == "") is bounded


def test_a_function_has_names_of_its_own() -> None:
    bounds = Bounds()
    with bounds.function("own", "grow"):
        bounds.visit(step("Reshape", "x", "shape"))
    bounds.keep("shape")
    bounds.visit(step("Reshape", "x", "shape"))
    assert "operator Reshape" in bounds.broken(LATEST)


def test_what_follows_a_function_belongs_to_the_graph_again() -> None:
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
