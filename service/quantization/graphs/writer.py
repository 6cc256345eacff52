"""Builds the new nodes and initializers of a graph, with unique names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from service.core.tensors import Array


class GraphWriter:
    """Collects nodes in execution order, and initializers."""

    def __init__(self, taken: set[str], opset: int) -> None:
        """``taken`` contains the names in use; new names are added to it."""
        self._taken = taken
        self._opset = opset
        self._shared: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def keep(self, node: onnx.NodeProto) -> None:
        """Append an existing node."""
        self.nodes.append(node)

    def node(
        self, operator: str, inputs: Sequence[str], name: str, domain: str = "", **attributes: Any
    ) -> str:
        """Append a node with one output. Returns the name of the output, derived from ``name``."""
        output = self.fresh(name)
        self.write(operator, inputs, output, domain, **attributes)
        return output

    def write(
        self, operator: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any
    ) -> None:
        """Append a node whose output has a given name."""
        name = self.fresh(f"{output}.{operator}")
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name=name, domain=domain, **attributes)
        )

    def reduce(self, operator: str, value: str, name: str) -> str:
        """Append a reduction over the last axis, with keepdims. Axes are an input from opset 18 on
        (ReduceSum: 13)."""
        if self._opset >= (13 if operator == "ReduceSum" else 18):
            axes = self.shared("last_axis", np.array([-1], np.int64))
            return self.node(operator, [value, axes], name, keepdims=1)
        return self.node(operator, [value], name, axes=[-1], keepdims=1)

    def constant(self, values: Array | np.generic, name: str) -> str:
        """Add an initializer. Returns its name, derived from ``name``."""
        found = self.fresh(name)
        self.constants.append(numpy_helper.from_array(np.asarray(values), found))
        return found

    def shared(self, name: str, values: Array | np.generic) -> str:
        """Return the name of an initializer that all callers with the same ``name`` share."""
        if name not in self._shared:
            self._shared[name] = self.constant(values, f"per_row.{name}")
        return self._shared[name]

    def fresh(self, name: str) -> str:
        """Return a unique name, derived from ``name``."""
        found, number = name, 2
        while found in self._taken:
            found, number = f"{name}.{number}", number + 1
        self._taken.add(found)
        return found
