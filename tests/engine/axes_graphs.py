"""Small graphs with several inputs, whose first axes are or are not a common batch."""

import numpy as np
import onnx
from onnx import helper

from tests.engine.graphs import FLOAT, INT64, Shape, constant, model, node, value, weights


def pair(first: Shape, second: Shape) -> onnx.ModelProto:
    """``y``: ``a`` and ``b`` [rows, 4] side by side, times weights; both need as many rows."""
    return model(
        [node("Concat", "a", "b", to="c", axis=1), node("MatMul", "c", "w", to="y")],
        [value("a", first), value("b", second)],
        [value("y", [None, 3])],
        [constant("w", weights(8, 3))],
    )


def apart(first: Shape, second: Shape) -> onnx.ModelProto:
    """``p`` from ``a`` and ``q`` from ``b``, which are independent."""
    return model(
        [node("MatMul", "a", "w", to="p"), node("MatMul", "b", "w", to="q")],
        [value("a", first), value("b", second)],
        [value("p", [None, 3]), value("q", [None, 3])],
        [constant("w", weights(4, 3))],
    )


def clip(cross: bool) -> onnx.ModelProto:
    """Embed images and texts; with ``cross`` also the products of all images and all texts."""
    nodes = [node("MatMul", "image", "wi", to="ie"), node("MatMul", "text", "wt", to="te")]
    outputs = [value("ie", ["image_batch", 4]), value("te", ["text_batch", 4])]
    if cross:
        nodes += [
            node("Transpose", "te", to="columns", perm=[1, 0]),
            node("MatMul", "ie", "columns", to="logits"),
        ]
        outputs = [value("logits", ["image_batch", "text_batch"])]
    return model(
        nodes,
        [value("image", ["image_batch", 8]), value("text", ["text_batch", 6])],
        outputs,
        [constant("wi", weights(8, 4)), constant("wt", weights(6, 4, seed=1))],
    )


def network(edges: Shape = ("num_edges", 2)) -> onnx.ModelProto:
    """Add to each node of a graph the nodes from which an edge leads to it."""
    axis = 0 if edges is not None and edges[0] == 2 else 1
    return model(
        [
            node("Gather", "edges", "zero", to="from", axis=axis),
            node("Gather", "edges", "one", to="to", axis=axis),
            node("Gather", "nodes", "from", to="message", axis=0),
            node("Unsqueeze", "to", "columns", to="target"),
            node("Concat", "target", "target", to="targets", axis=1),
            helper.make_node(
                "ScatterElements", ["nodes", "targets", "message"], ["y"], axis=0, reduction="add"
            ),
        ],
        [value("nodes", ["num_nodes", 2]), value("edges", edges, INT64)],
        [value("y", ["num_nodes", 2])],
        [
            constant("zero", 0, np.int64),
            constant("one", 1, np.int64),
            constant("columns", [1], np.int64),
        ],
        opset=18,
    )


def ranking(users: str | None = "users", items: str | None = "items") -> onnx.ModelProto:
    """The score of each item, for one user or for one user per item."""
    return model(
        [
            node("Mul", "user", "items", to="products"),
            node("ReduceSum", "products", "columns", to="score", keepdims=0),
        ],
        [value("user", [users, 4]), value("items", [items, 4])],
        [value("score", [items])],
        [constant("columns", [1], np.int64)],
    )


def groups() -> onnx.ModelProto:
    """``a`` and ``b`` have the same rows, and so have ``c`` and ``d``, but not all four."""
    return model(
        [node("Concat", "a", "b", to="p", axis=1), node("Concat", "c", "d", to="q", axis=1)],
        [value(name, [None, 2]) for name in "abcd"],
        [value("p", [None, 4]), value("q", [None, 4])],
    )


def without_shape() -> onnx.ModelProto:
    """Any number of axes, of which the last has 5 elements; the file declares no shape."""
    return model(
        [node("MatMul", "x", "w", to="y")],
        [value("x", None)],
        [value("y", None)],
        [constant("w", weights(5, 3))],
    )


def with_defaults() -> onnx.ModelProto:
    """``x`` times ``w`` times ``k``; the last two have defaults: weights, and 2."""
    return model(
        [node("MatMul", "x", "w", to="h"), node("Mul", "h", "k", to="y")],
        [value("x", ["batch", 4]), value("w", [4, 3]), value("k", [], FLOAT)],
        [value("y", ["batch", 3])],
        [constant("w", weights(4, 3)), constant("k", 2.0, np.float32)],
    )


def recurrent(operator: str) -> onnx.ModelProto:
    """An LSTM or a GRU over [batch, time, 3]."""
    gates = {"LSTM": 4, "GRU": 3}[operator]
    return model(
        [
            node("Transpose", "x", to="steps", perm=[1, 0, 2]),
            helper.make_node(operator, ["steps", "w", "r"], ["", "last"], hidden_size=4),
            node("Squeeze", "last", "zero", to="y"),
        ],
        [value("x", ["batch", "time", 3])],
        [value("y", ["batch", 4])],
        [
            constant("w", weights(1, gates * 4, 3)),
            constant("r", weights(1, gates * 4, 4)),
            constant("zero", [0], np.int64),
        ],
    )
