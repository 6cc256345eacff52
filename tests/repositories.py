"""Model repositories for tests: y = factor * x, in real ONNX files of a few hundred bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROWS = np.arange(1, 9, dtype=np.float32).reshape(4, 2)


def scale(factor: float, name: str = "x", width: int = 2) -> bytes:
    """Return the graph: ``name`` FP32 [batch, width] to "y" of the same shape."""
    shape: list[str | int] = ["batch", width]
    graph = helper.make_graph(
        [helper.make_node("Mul", [name, "factor"], ["y"])],
        "scale",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(factor, np.float32), "factor")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    assert onnx.load_from_string(model).graph.name == "scale"
    return model


def put(root: Path, name: str, number: int, model: bytes) -> Path:
    """Publish a version atomically, by a rename."""
    folder = root / name
    staging = folder / f".staging-{number}"
    staging.mkdir(parents=True)
    (staging / "model.onnx").write_bytes(model)
    return staging.rename(folder / str(number))


def golden(folder: Path, factor: float, name: str = "x", rows: np.ndarray = ROWS) -> None:
    """Write the golden set that every version must reproduce: y = factor * x."""
    arrays: dict[str, Any] = {f"inputs/{name}": rows, "outputs/y": rows * np.float32(factor)}
    np.savez(folder / "golden.npz", **arrays)
