"""Small models, written node by node."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path: Path, nodes: list, inputs: dict, outputs: dict, constants: dict) -> Path:
    """Save a model file with FP32 inputs and outputs of these shapes."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def conv_net(path: Path, first: object = "batch", outputs: str = "scores") -> Path:
    """An image [n, 1, 8, 8] to scores [n, 3]."""
    rng = np.random.default_rng(0)
    constants = {
        "w1": rng.standard_normal((8, 1, 3, 3)).astype(np.float32),
        "b1": np.zeros(8, np.float32),
        "w2": rng.standard_normal((16, 8, 3, 3)).astype(np.float32) / 8,
        "b2": np.zeros(16, np.float32),
        "w3": rng.standard_normal((16, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], [outputs]),
    ]
    return save(path, nodes, {"x": [first, 1, 8, 8]}, {outputs: [first, 3]}, constants)


def recurrent(path: Path) -> Path:
    """A sequence [n, t, 8], state [2, n, 16] and a scalar to scores [n, 3] and the next state."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((1, 64, 8)).astype(np.float32) / 4,
        "r": rng.standard_normal((1, 64, 16)).astype(np.float32) / 4,
        "b": np.zeros((1, 128), np.float32),
        "w2": rng.standard_normal((16, 3)).astype(np.float32),
        "first": np.zeros(1, np.int64),
    }
    nodes = [
        helper.make_node("Mul", ["x", "gain"], ["louder"]),
        helper.make_node("Transpose", ["louder"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("Split", ["state"], ["h", "c"], axis=0),
        helper.make_node(
            "LSTM", ["steps", "w", "r", "b", "", "h", "c"], ["", "hn", "cn"], hidden_size=16
        ),
        helper.make_node("Concat", ["hn", "cn"], ["next"], axis=0),
        helper.make_node("Squeeze", ["hn", "first"], ["last"]),
        helper.make_node("MatMul", ["last", "w2"], ["scores"]),
    ]
    inputs = {"x": ["n", "t", 8], "state": [2, "n", 16], "gain": []}
    return save(path, nodes, inputs, {"scores": ["n", 3], "next": [2, "n", 16]}, constants)


def branching(path: Path) -> Path:
    """Rows [n, 8] to [n, 4], by one of two matrices in the branches of an If."""
    rng = np.random.default_rng(0)

    def branch(name: str) -> onnx.GraphProto:
        weight = numpy_helper.from_array(rng.standard_normal((8, 4)).astype(np.float32), f"w{name}")
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4])
        return helper.make_graph(
            [helper.make_node("MatMul", ["x", f"w{name}"], [name])], name, [], [value], [weight]
        )

    nodes = [
        helper.make_node("Greater", ["rate", "limit"], ["fast"]),
        helper.make_node("If", ["fast"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
    ]
    constants = {"limit": np.zeros((), np.float32)}
    return save(path, nodes, {"x": ["n", 8], "rate": []}, {"y": ["n", 4]}, constants)
