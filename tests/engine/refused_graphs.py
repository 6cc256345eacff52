"""Small graphs of one operator that refuses some inputs. All inputs fit the declared signature.
``refused_shapes.py``, ``refused_values.py`` and ``refused_fused.py`` have the cases.
"""

from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.engine.graphs import FLOAT, INT64, Shape, constant, model, value, weights

KINDS = {"f": FLOAT, "i": INT64, "s": TensorProto.STRING, "b": TensorProto.BOOL}
Array = np.ndarray


class Refused(NamedTuple):
    """A graph of one operator, rows that it accepts and rows that it refuses."""

    model: onnx.ModelProto
    taken: tuple[Array, ...]
    refused: tuple[Array, ...]


def floats(*shape: int) -> Array:
    """An FP32 array of ones with this shape."""
    return np.ones(shape, np.float32)


def ints(*values: object) -> Array:
    """An INT64 vector."""
    return np.array(values, np.int64)


def graph(
    operator: str,
    inputs: dict[str, tuple[str, Shape]],
    constants: dict[str, Array] | None = None,
    order: str = "",
    domain: str = "",
    opset: int = 17,
    out: tuple[int, int | None] = (FLOAT, None),
    outputs: int = 1,
    **attributes: object,
) -> onnx.ModelProto:
    """``operator`` on inputs of these kinds and shapes and on constants, in ``order``."""
    names = order.split(",") if order else [*inputs, *(constants or {})]
    made = ["y", *(f"y{i}" for i in range(1, outputs))]
    node = helper.make_node(operator, names, made, name="node_1", domain=domain, **attributes)
    given = [value(name, shape, KINDS[kind]) for name, (kind, shape) in inputs.items()]
    rank = out[1]
    shape = None if rank is None else [f"y_{i}" for i in range(rank)]
    results = [value(name, shape, out[0]) for name in made]
    stored = [constant(name, array) for name, array in (constants or {}).items()]
    return model([node], given, results, stored, opset)


def position_table() -> onnx.ModelProto:
    """Embedded tokens plus a slice of a table of eight positions, as in BERT."""
    nodes = [
        helper.make_node("Shape", ["ids"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["length"], name="length"),
        helper.make_node("Unsqueeze", ["length", "zeros"], ["end"]),
        helper.make_node("Slice", ["positions", "zeros", "end", "ones"], ["places"], name="cut"),
        helper.make_node("Gather", ["table", "ids"], ["tokens"], name="tokens"),
        helper.make_node("Add", ["tokens", "places"], ["y"], name="node_1"),
    ]
    stored = [
        constant("one", 1, "int64"),
        constant("zeros", [0], "int64"),
        constant("ones", [1], "int64"),
        constant("positions", weights(1, 8, 4)),
        constant("table", weights(20, 4)),
    ]
    ids = value("ids", ["batch", "sequence"], INT64)
    return model(nodes, [ids], [value("y", ["batch", "sequence", 4])], stored)


def ids(*shape: int) -> Array:
    """Tokens of the vocabulary."""
    return np.ones(shape, np.int64)


def of_learning(
    operator: str, inputs: dict[str, tuple[str, Shape]], **attributes: object
) -> onnx.ModelProto:
    """An operator of classical machine learning on its inputs."""
    made = graph(operator, inputs, domain="ai.onnx.ml", **attributes)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    return made


ROW = {"x": ("f", ["n", "m"])}
MS = "com.microsoft"
