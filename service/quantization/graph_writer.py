"""Nodes and constants to be put into a graph, each under a name that nothing else has."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from service.core.tensors import Array


class GraphWriter:
    """Collects nodes in the order in which they are to run, and the constants that they read."""

    def __init__(self, taken: set[str], opset: int) -> None:
        """``taken``: the names of tensors and nodes that exist; those made here are added."""
        self._taken = taken
        self._opset = opset
        self._shared: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def keep(self, node: onnx.NodeProto) -> None:
        """Append a node as it is."""
        self.nodes.append(node)

    def node(
        self, operator: str, inputs: Sequence[str], name: str, domain: str = "", **attributes: Any
    ) -> str:
        """Append a node with one output; gives the output's name, made from ``name``."""
        output = self.fresh(name)
        self.write(operator, inputs, output, domain, **attributes)
        return output

    def write(
        self, operator: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any
    ) -> None:
        """Append a node with an output of a given name."""
        name = self.fresh(f"{output}.{operator}")
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name=name, domain=domain, **attributes)
        )

    def reduce(self, operator: str, value: str, name: str) -> str:
        """Append a reduction over the last axis, which stays with length 1. From opset 18 on (13
        for sums) the axes are an input."""
        if self._opset >= (13 if operator == "ReduceSum" else 18):
            axes = self.shared("last_axis", np.array([-1], np.int64))
            return self.node(operator, [value, axes], name, keepdims=1)
        return self.node(operator, [value], name, axes=[-1], keepdims=1)

    def constant(self, values: Array | np.generic, name: str) -> str:
        """Add a constant; gives its name, made from ``name``."""
        found = self.fresh(name)
        self.constants.append(numpy_helper.from_array(np.asarray(values), found))
        return found

    def shared(self, name: str, values: Array | np.generic) -> str:
        """A constant that is made once for all that ask for it by this name."""
        if name not in self._shared:
            self._shared[name] = self.constant(values, f"per_row.{name}")
        return self._shared[name]

    def fresh(self, name: str) -> str:
        """A name that nothing else has, made from ``name``."""
        found, number = name, 2
        while found in self._taken:
            found, number = f"{name}.{number}", number + 1
        self._taken.add(found)
        return found
