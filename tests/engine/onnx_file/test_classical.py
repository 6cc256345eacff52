"""Forests and linear models have their weights in attributes, and these are counted."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from service.engine.onnx_file.classical import Learned, Trees, learned
from service.engine.onnx_file.protobuf import encode
from service.engine.onnx_file.summary import Precision, summarise_model
from tests.engine import classifiers, graphs
from tests.engine.classifiers import ML


def precision(model: onnx.ModelProto) -> Precision:
    return summarise_model(memoryview(model.SerializeToString()), "it").precision


def attributes(**values: Any) -> list[memoryview]:
    made = (helper.make_attribute(name, value) for name, value in values.items())
    return [memoryview(each.SerializeToString()) for each in made]


def forest(trees: int) -> onnx.ModelProto:
    return classifiers.model(*classifiers.forest([0, 1, 2], trees))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (forest(3), "3 trees, FP32, 9 nodes"),
        (forest(1), "1 tree, FP32, 3 nodes"),
        (classifiers.model(*classifiers.linear([0, 1])), "FP32"),
        (graphs.linear(), "FP32"),
        (graphs.model([graphs.node("Neg", "x", to="y")], [graphs.value("x", ["n"])],
                      [graphs.value("y", ["n"])]), "no weights"),
    ],
)  # fmt: skip
def test_the_precision_text_names_trees_and_nodes(model: onnx.ModelProto, text: str) -> None:
    assert str(precision(model)) == text


def test_a_forest_in_doubles() -> None:
    model = forest(2)
    (values,) = (a for a in model.graph.node[0].attribute if a.name == "nodes_values")
    tensor = helper.make_tensor("t", TensorProto.DOUBLE, [6], values.floats)
    model.graph.node[0].attribute.remove(values)
    model.graph.node[0].attribute.append(helper.make_attribute("nodes_values_as_tensor", tensor))
    assert str(precision(model)) == "2 trees, FP64, 6 nodes"


def test_a_forest_beside_quantized_products() -> None:
    nodes, outputs = classifiers.forest([0, 1, 2])
    nodes.append(graphs.node("MatMulInteger", "a", "w", to="b"))
    model = classifiers.model(nodes, outputs, {ML: 1, "": 17})
    model.graph.initializer.append(graphs.constant("w", np.zeros((50, 50)), np.int8))
    assert str(precision(model)) == "3 trees, INT8 QOperator, 9 nodes"


def test_tree_ensemble_has_lists_for_branches_and_leaves() -> None:
    splits = helper.make_tensor("s", TensorProto.DOUBLE, [2], [0.0, 1.0])
    given = attributes(
        tree_roots=[0, 1], nodes_featureids=[0, 1], leaf_targetids=[0, 1, 0, 1], nodes_splits=splits
    )
    assert learned("TreeEnsemble", given) == Learned(6, True, Trees(2, 6))


@given(
    ids=st.lists(st.integers(0, 300), min_size=1, max_size=300),
    packed=st.booleans(),
)
def test_trees_are_counted_with_packed_and_unpacked_ids(ids: list[int], packed: bool) -> None:
    (made,) = attributes(nodes_treeids=ids)
    if packed:
        numbers = b"".join(encode(8, each)[1:] for each in ids)
        made = memoryview(encode(1, "nodes_treeids") + encode(8, numbers))
    found = learned("TreeEnsembleRegressor", [made])
    assert found == Learned(len(ids), False, Trees(len(set(ids)), len(ids)))


@given(count=st.integers(1, 200), packed=st.booleans())
def test_packed_and_unpacked_coefficients_are_counted(count: int, packed: bool) -> None:
    (made,) = attributes(coefficients=[1.5] * count)
    if packed:
        made = memoryview(encode(1, "coefficients") + encode(7, bytes(4 * count)))
    assert learned("LinearRegressor", [made]) == Learned(count)


@pytest.mark.parametrize("packed", [False, True])
def test_trees_are_counted_in_more_ids_than_one_chunk(packed: bool) -> None:
    ids = np.arange(300).repeat(400).tolist()
    (made,) = attributes(nodes_treeids=ids)
    if packed:
        numbers = b"".join(encode(8, each)[1:] for each in ids)
        made = memoryview(encode(1, "nodes_treeids") + encode(8, numbers))
    assert learned("TreeEnsembleRegressor", [made]).trees == Trees(300, len(ids))
