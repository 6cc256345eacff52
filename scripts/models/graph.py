"""Writes ONNX graphs node by node, so that shipped models contain nothing else.

An exporter would add scopes, stack traces and names of its own. Opset 17 and IR 8 load in every
ONNX Runtime since 1.12.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Dim = int | str
Attribute = int | float | list[int]


class Graph:
    """A graph under construction; methods return the name of the tensor that they created."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: list[TensorProto] = []
        self._nodes: list[onnx.NodeProto] = []

    def floats_in(self, name: str, shape: list[Dim]) -> str:
        """Declare an FP32 input."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def integers_in(self, name: str, shape: list[Dim]) -> str:
        """Declare an INT64 input."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, shape))
        return name

    def floats_out(self, name: str, shape: list[Dim]) -> None:
        """Declare that an FP32 tensor is an output."""
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        """Add a constant under a descriptive name."""
        self._constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def floats(self, name: str, *values: float) -> str:
        """Add a short FP32 vector."""
        return self.constant(name, np.array(values, np.float32))

    def integers(self, name: str, *values: int) -> str:
        """Add a short INT64 vector: axes, shapes, bounds."""
        return self.constant(name, np.array(values, np.int64))

    def node(self, op: str, *inputs: str, to: str, **attributes: Attribute) -> str:
        """Add a node with one output, `to`. The node has the same name."""
        named: dict[str, Any] = {"name": to, **attributes}
        self._nodes.append(helper.make_node(op, inputs, [to], **named))
        return to

    def to_float(self, x: str, *, to: str) -> str:
        """Cast a tensor to FP32."""
        # The attribute `to` of Cast has the same name as the parameter of `node` for the result.
        node = helper.make_node("Cast", [x], [to], name=to, to=TensorProto.FLOAT)
        self._nodes.append(node)
        return to

    def split(self, x: str, *, to: list[str], axis: int) -> list[str]:
        """Split a tensor into equal parts along an axis."""
        self._nodes.append(helper.make_node("Split", [x], to, name=f"{x}.split", axis=axis))
        return to

    def model(self) -> onnx.ModelProto:
        """Check the finished model and return it."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        return model
