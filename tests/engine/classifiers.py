"""Classifiers as skl2onnx and onnxmltools write them: probabilities end in ZipMap."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from tests.engine.graphs import constant, node, value, weights

ML = "ai.onnx.ml"
WIDTH = 4
Classes = Sequence[int] | Sequence[str]


def ml(operator: str, inputs: Sequence[str], outputs: Sequence[str], **more: Any) -> NodeProto:
    """A node of ONNX's operators for classical models."""
    return helper.make_node(operator, inputs, outputs, name=outputs[-1], domain=ML, **more)


def maps(name: str, classes: Classes) -> ValueInfoProto:
    """The output of a ZipMap."""
    key = TensorProto.STRING if isinstance(classes[0], str) else TensorProto.INT64
    number = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(key, number))
    return helper.make_value_info(name, kind)


def zipmap(source: str, name: str, classes: Classes) -> NodeProto:
    """A ZipMap node."""
    kind = "strings" if isinstance(classes[0], str) else "int64s"
    return ml("ZipMap", [source], [name], **{f"classlabels_{kind}": list(classes)})


def model(
    nodes: Sequence[NodeProto],
    outputs: Sequence[ValueInfoProto],
    opsets: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model with the input ``x``, FP32 [-1, 4]."""
    graph = helper.make_graph(list(nodes), "graph", [value("x", [None, WIDTH])], list(outputs))
    imports = [helper.make_opsetid(*each) for each in (opsets or {ML: 1}).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def linear(classes: Classes, name: str = "", seed: int = 0) -> tuple[list[NodeProto], list[Any]]:
    """LinearClassifier, Normalizer and ZipMap, with the outputs "label" and "probabilities"."""
    table = weights(len(classes), WIDTH, seed=seed)
    kind = TensorProto.STRING if isinstance(classes[0], str) else TensorProto.INT64
    label, scores, shares, given = (
        f"{name}{each}" for each in ("label", "scores", "shares", "probabilities")
    )
    attribute = "classlabels_strings" if isinstance(classes[0], str) else "classlabels_ints"
    nodes = [
        ml("LinearClassifier", ["x"], [label, scores], coefficients=table.ravel().tolist(),
           intercepts=[0.0] * len(classes), multi_class=1, post_transform="LOGISTIC",
           **{attribute: list(classes)}),
        ml("Normalizer", [scores], [shares], norm="L1"),
        zipmap(shares, given, classes),
    ]  # fmt: skip
    return nodes, [value(label, [None], kind), maps(given, classes)]


def probabilities(classes: int, x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Compute the probabilities of ``linear`` with numpy."""
    scores = 1 / (1 + np.exp(-x @ weights(classes, WIDTH, seed=seed).T))
    shares: np.ndarray = scores / scores.sum(1, keepdims=True)
    return shares


def forest(classes: Classes, trees: int = 3) -> tuple[list[NodeProto], list[Any]]:
    """Trees with one split each: class t if feature t is at most 0, otherwise the last class.
    The outputs are "label" and "probabilities"."""
    strings = isinstance(classes[0], str)
    last, kind = len(classes) - 1, TensorProto.STRING if strings else TensorProto.INT64
    attribute = "classlabels_strings" if strings else "classlabels_int64s"
    ids = [tree for tree in range(trees) for _ in range(3)]
    leaves = [tree for tree in range(trees) for _ in range(2)]
    nodes = [
        ml("TreeEnsembleClassifier", ["x"], ["label", "shares"], post_transform="NONE",
           nodes_treeids=ids, nodes_nodeids=[0, 1, 2] * trees,
           nodes_featureids=[tree % WIDTH if i == 0 else 0 for tree in range(trees)
                             for i in range(3)],
           nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * trees, nodes_values=[0.0] * len(ids),
           nodes_truenodeids=[1, 0, 0] * trees, nodes_falsenodeids=[2, 0, 0] * trees,
           class_treeids=leaves, class_nodeids=[1, 2] * trees,
           class_ids=[each for tree in range(trees) for each in (tree % last, last)],
           class_weights=[1 / trees] * len(leaves), **{attribute: list(classes)}),
        zipmap("shares", "probabilities", classes),
    ]  # fmt: skip
    return nodes, [value("label", [None], kind), maps("probabilities", classes)]


def network(classes: Classes, opset: int = 17) -> onnx.ModelProto:
    """Two matrix products, Softmax and ZipMap, as in a multi-layer perceptron. The outputs are
    "label", the index of the class, and "probabilities"."""
    nodes = [
        node("MatMul", "x", "w", to="h"),
        node("Relu", "h", to="r"),
        node("MatMul", "r", "v", to="scores"),
        node("Softmax", "scores", to="shares", axis=1),
        node("ArgMax", "shares", to="label", axis=1, keepdims=0),
        zipmap("shares", "probabilities", classes),
    ]
    outputs = [value("label", [None], TensorProto.INT64), maps("probabilities", classes)]
    made = model(nodes, outputs, {"": opset, ML: 1})
    made.graph.initializer.append(constant("w", weights(WIDTH, 64)))
    made.graph.initializer.append(constant("v", weights(64, len(classes), seed=1)))
    return made
