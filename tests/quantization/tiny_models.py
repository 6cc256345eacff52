"""Small models, written node by node."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path: Path, nodes: list, inputs: dict, outputs: dict, constants: dict) -> Path:
    """A model file with FP32 inputs and outputs of these shapes."""
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
