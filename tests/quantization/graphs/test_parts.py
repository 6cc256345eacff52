"""Nodes, names and constants are found in nested graphs too."""

import numpy as np
import onnx
import pytest
from onnx import GraphProto, TensorProto, helper, numpy_helper

from service.quantization.graphs.parts import (
    all_graphs,
    all_nodes,
    drop_unread_constants,
    names_in,
    names_read,
    opset_of,
)


def branch(name: str, constant: str) -> GraphProto:
    weight = numpy_helper.from_array(np.zeros(1, np.float32), constant)
    node = helper.make_node("Add", ["x", constant], [f"{name}_out"], name=f"{name}_add")
    value = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [1])
    return helper.make_graph([node], name, [], [value], [weight])


@pytest.fixture
def graph() -> GraphProto:
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]
    choice = helper.make_node(
        "If",
        ["c"],
        ["y"],
        name="choice",
        then_branch=branch("b", "wb"),
        else_branch=branch("a", "wa"),
    )
    unread = helper.make_node("Constant", [], ["unread"], name="k", value_float=1.0)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    spare = numpy_helper.from_array(np.zeros(1, np.float32), "spare")
    return helper.make_graph([unread, choice], "g", inputs, [output], [spare])


def test_branches_are_visited_after_their_node(graph: GraphProto) -> None:
    assert [each.name for each in all_graphs(graph)] == ["g", "a", "b"]
    assert [node.name for node in all_nodes(graph)] == ["k", "choice", "a_add", "b_add"]
    assert {"wa", "wb", "spare", "x", "y", "a_add"} <= names_in(graph)
    assert "spare" not in names_read(graph) and "wa" in names_read(graph)


def test_unused_constants_are_removed(graph: GraphProto) -> None:
    drop_unread_constants(graph)
    assert [node.name for node in all_nodes(graph)] == ["choice", "a_add", "b_add"]
    assert [t.name for each in all_graphs(graph) for t in each.initializer] == ["wa", "wb"]


def test_the_opset_is_that_of_onnx() -> None:
    imports = [helper.make_opsetid("com.microsoft", 99), helper.make_opsetid("", 17)]
    model = onnx.ModelProto(opset_import=imports)
    assert opset_of(model) == 17
    assert opset_of(onnx.ModelProto()) == 1
