"""Small ONNX graphs, most of which behave differently from what their file declares."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Shape = Sequence[int | str | None] | None


def value(name: str, shape: Shape, kind: int = FLOAT) -> ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, array: ArrayLike, dtype: DTypeLike | None = None) -> TensorProto:
    """A weight."""
    return numpy_helper.from_array(np.asarray(array, dtype), name)


def node(operator: str, *names: str, to: str, **attributes: Any) -> NodeProto:
    """A node with one output."""
    return helper.make_node(operator, names, [to], name=to, **attributes)


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    weights: Sequence[TensorProto] = (),
    opset: int = 17,
) -> onnx.ModelProto:
    """A model that is not checked."""
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(weights))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def save(proto: onnx.ModelProto, folder: Path, number: int = 1) -> Path:
    """Write version ``number`` of the model in a folder, and return the version's folder."""
    version = folder / str(number)
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.onnx").write_bytes(proto.SerializeToString())
    return version


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Weights that preserve the magnitude of their input."""
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    scaled: np.ndarray = values / shape[0] ** 0.5
    return scaled


def linear(width: int = 32, classes: int = 10, hidden: int = 64) -> onnx.ModelProto:
    """A correct model: rows of ``width`` numbers to ``classes`` scores."""
    return model(
        [
            node("MatMul", "x", "w", to="h"),
            node("Relu", "h", to="r"),
            node("MatMul", "r", "v", to="y"),
        ],
        [value("x", ["batch", width])],
        [value("y", ["batch", classes])],
        [constant("w", weights(width, hidden)), constant("v", weights(hidden, classes, seed=1))],
    )


def fails_from(rows: int) -> onnx.ModelProto:
    """Declares a dynamic batch, and fails at ``rows`` rows: an index past a table's end."""
    return model(
        [
            node("Shape", "x", to="shape"),
            node("Gather", "shape", "first", to="count"),
            node("Gather", "table", "count", to="zero"),
            node("Add", "x", "zero", to="y"),
        ],
        [value("x", ["batch", 4])],
        [value("y", ["batch", 4])],
        [constant("first", 0, np.int64), constant("table", np.zeros(rows, np.float32))],
    )


def declares_one_row() -> onnx.ModelProto:
    """Declares an output of one number, and returns one for each row."""
    return model(
        [node("ReduceSum", "x", "axis", to="y", keepdims=0)],
        [value("x", ["batch", 4])],
        [value("y", [1])],
        [constant("axis", [1], np.int64)],
    )


def no_batch_out() -> onnx.ModelProto:
    """Returns one answer for all rows."""
    return model(
        [node("ReduceMean", "x", to="y", keepdims=0)],
        [value("x", ["batch", 4])],
        [value("y", [])],
    )


def batch_on_axis_1() -> onnx.ModelProto:
    """A sequence of batches, the input of recurrent networks: the first axis is time."""
    hidden = 4
    return model(
        [
            helper.make_node("RNN", ["x", "w", "r"], ["", "last"], name="rnn", hidden_size=hidden),
            node("Squeeze", "last", "zero", to="y"),
        ],
        [value("x", ["time", "batch", 3])],
        [value("y", ["batch", hidden])],
        [
            constant("w", weights(1, hidden, 3)),
            constant("r", weights(1, hidden, hidden)),
            constant("zero", [0], np.int64),
        ],
    )


def running_total() -> onnx.ModelProto:
    """As many answers as rows, each of which depends on the rows before it."""
    return model(
        [node("CumSum", "x", "axis", to="y")],
        [value("x", ["time", 4])],
        [value("y", ["time", 4])],
        [constant("axis", 0, np.int64)],
    )


def centred() -> onnx.ModelProto:
    """Subtracts the mean of the batch from every row, as batch normalisation in training does."""
    return model(
        [node("ReduceMean", "x", to="mean", axes=[0]), node("Sub", "x", "mean", to="y")],
        [value("x", ["batch", 4])],
        [value("y", ["batch", 4])],
    )


def random_output() -> onnx.ModelProto:
    """Never returns the same answer twice."""
    return model(
        [node("RandomNormalLike", "x", to="y")],
        [value("x", ["batch", 4])],
        [value("y", ["batch", 4])],
    )


def no_input() -> onnx.ModelProto:
    """Has no input, and returns a constant."""
    return model(
        [node("Identity", "c", to="y")],
        [],
        [value("y", [3])],
        [constant("c", [1, 2, 3], np.float32)],
    )


def fixed_batch(rows: int = 4) -> onnx.ModelProto:
    """Accepts exactly this number of rows."""
    return model([node("Relu", "x", to="y")], [value("x", [rows, 4])], [value("y", [rows, 4])])


def eights() -> onnx.ModelProto:
    """Accepts sequences whose length is a multiple of 8."""
    return model(
        [
            node("Reshape", "x", "blocks", to="cut"),
            node("ReduceSum", "cut", "axis", to="y", keepdims=0),
        ],
        [value("x", ["batch", "sequence"])],
        [value("y", ["batch", 8])],
        [constant("blocks", [0, -1, 8], np.int64), constant("axis", [1], np.int64)],
    )


def two_inputs() -> onnx.ModelProto:
    """Two inputs whose axes have the same names."""
    return model(
        [node("Mul", "a", "b", to="c"), node("ReduceSum", "c", "axis", to="y", keepdims=0)],
        [value("a", ["batch", "sequence"]), value("b", ["batch", "sequence"])],
        [value("y", ["batch"])],
        [constant("axis", [1], np.int64)],
    )


def square() -> onnx.ModelProto:
    """A graph's adjacency matrix: the first axis and the second are the same."""
    return model(
        [node("MatMul", "x", "x", to="y")], [value("x", ["n", "n"])], [value("y", ["n", "n"])]
    )


def attention(heed_mask: bool = True, width: int = 16, vocabulary: int = 100) -> onnx.ModelProto:
    """Embedded tokens, one head of attention, the states of all tokens and their mean.

    With ``heed_mask`` attention and mean ignore the masked tokens.
    """
    bias = [
        node("Unsqueeze", "mask", "one_axis", to="columns"),
        node("Sub", "one", "columns", to="hidden"),
        node("Mul", "hidden", "low", to="bias"),
        node("Add", "scores", "bias", to="seen"),
    ]
    nodes = [
        node("Gather", "table", "ids", to="e"),
        node("Cast", "attention_mask", to="mask"),
        node("Transpose", "e", to="keys", perm=[0, 2, 1]),
        node("MatMul", "e", "keys", to="scores"),
        *(bias if heed_mask else []),
        node("Softmax", "seen" if heed_mask else "scores", to="shares", axis=-1),
        node("MatMul", "shares", "e", to="context"),
        node("MatMul", "context", "w", to="states"),
        node("Unsqueeze", "mask", "two_axis", to="weight"),
        node("Mul", "states", "weight", to="kept")
        if heed_mask
        else node("Identity", "states", to="kept"),
        node("ReduceSum", "kept", "one_axis", to="sum", keepdims=0),
        node("ReduceSum", "mask", "one_axis", to="count", keepdims=1),
        node("Div", "sum", "count", to="mean"),
    ]
    nodes[1].attribute.append(helper.make_attribute("to", FLOAT))
    return model(
        nodes,
        [
            value("ids", ["batch", "sequence"], INT64),
            value("attention_mask", ["batch", "sequence"], INT64),
        ],
        [value("states", ["batch", "sequence", width]), value("mean", ["batch", width])],
        [
            constant("table", weights(vocabulary, width) * 10),
            constant("w", weights(width, width, seed=1)),
            constant("one", 1, np.float32),
            constant("low", -1e4, np.float32),
            constant("one_axis", [1], np.int64),
            constant("two_axis", [2], np.int64),
        ],
    )
