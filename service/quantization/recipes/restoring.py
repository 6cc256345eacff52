"""Reverts dynamic quantization: products and tables in FP32, from the dequantized weights.

``quantize_dynamic`` writes a product as

    q, s, z = DynamicQuantizeLinear(x)
    y = Cast(MatMulInteger(q, W8, z, W8_zero)) * (s * W8_scale)

which ONNX Runtime's optimiser replaces by ``DynamicQuantizeMatMul(x, W8, W8_scale, W8_zero)``.
Tables are ``DequantizeLinear(Gather(W8, index))``.
"""

from collections import Counter, defaultdict

import numpy as np
import onnx

from service.core.tensors import Array
from service.quantization.graphs.parts import drop_unread_constants, names_in, names_read
from service.quantization.graphs.products import Constants
from service.quantization.graphs.writer import GraphWriter

QUANTIZER = "DynamicQuantizeLinear"
FLOATING = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}
"""Integer operators and their float equivalents."""


def restore(model: onnx.ModelProto) -> Counter[str]:
    """Rewrite a model in place. Returns the number of reverted nodes by float operator."""
    constants = Constants(model.graph, model.ir_version)
    found = _Restoring(model.graph, constants, names_in(model.graph)).run()
    model.graph.ClearField("value_info")
    return found


class _Restoring:
    """The conversion of one graph."""

    def __init__(self, graph: onnx.GraphProto, constants: Constants, taken: set[str]) -> None:
        self._graph, self._constants = graph, constants
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._readers[name].append(node)
        self._writer = GraphWriter(taken, 13)
        self._weights: dict[tuple[str, str, str], str] = {}
        self._found: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        """Replace the quantized patterns, then remove unread nodes and constants."""
        for node in self._graph.node:
            if not self._written(node):
                self._writer.keep(node)
        del self._graph.node[:]
        self._graph.node.extend(self._writer.nodes)
        self._graph.initializer.extend(self._writer.constants)
        self._drop_unread()
        return self._found

    def _written(self, node: onnx.NodeProto) -> bool:
        """Write the float equivalent of the pattern that ends in this node. Return False if no
        pattern does."""
        if node.op_type == "Mul":
            return self._product(node)
        if node.op_type == "DequantizeLinear":
            return self._table(node)
        if node.op_type == "DynamicQuantizeMatMul":
            return self._fused(node)
        return False

    def _product(self, last: onnx.NodeProto) -> bool:
        for numbers, scales in (last.input, reversed(last.input)):
            cast, scale = self._makers.get(numbers), self._makers.get(scales)
            if cast is None or scale is None or (cast.op_type, scale.op_type) != ("Cast", "Mul"):
                continue
            product = self._makers.get(cast.input[0])
            if product is None or product.op_type not in FLOATING:
                continue
            quantizer = self._makers.get(product.input[0])
            if quantizer is None or quantizer.op_type != QUANTIZER:
                continue
            mine = quantizer.output[1]
            weight_scale = next((name for name in scale.input if name != mine), "")
            if mine not in scale.input or weight_scale not in self._constants:
                continue
            zero = product.input[3] if len(product.input) > 3 else ""
            weight = self._weight(product.input[1], weight_scale, zero, product.op_type)
            if not weight:
                continue
            operator = FLOATING[product.op_type]
            self._writer.write(operator, [quantizer.input[0], weight], last.output[0])
            self._writer.nodes[-1].attribute.extend(product.attribute)
            self._found[operator] += 1
            return True
        return False

    def _fused(self, node: onnx.NodeProto) -> bool:
        names = [*node.input, "", ""]
        weight = self._weight(names[1], names[2], names[3], "MatMulInteger")
        if not weight:
            return False
        bias = names[4]
        if bias:
            total = self._writer.node("MatMul", [names[0], weight], f"{node.output[0]}.product")
            self._writer.write("Add", [total, bias], node.output[0])
        else:
            self._writer.write("MatMul", [names[0], weight], node.output[0])
        self._found["MatMul"] += 1
        return True

    def _table(self, node: onnx.NodeProto) -> bool:
        """Write a Gather followed by DequantizeLinear as a Gather on the dequantized table. Return
        False if the node does not match."""
        gather = self._makers.get(node.input[0])
        if gather is None or gather.op_type != "Gather" or len(self._readers[node.input[0]]) > 1:
            return False
        zero = node.input[2] if len(node.input) > 2 else ""
        table = self._weight(gather.input[0], node.input[1], zero, "Gather")
        if not table:
            return False
        self._writer.write("Gather", [table, gather.input[1]], node.output[0])
        self._writer.nodes[-1].attribute.extend(gather.attribute)
        self._found["Gather"] += 1
        return True

    def _weight(self, name: str, scale: str, zero: str, operator: str) -> str:
        """Return the name of the dequantized weight; "" if a part of it is not constant."""
        known = [each for each in (name, scale, zero) if each]
        if not all(each in self._constants for each in known):
            return ""
        key = name, scale, zero
        if key not in self._weights:
            values = self._constants.array(name)
            steps = self._constants.array(scale).astype(np.float32)
            zeros = self._constants.array(zero) if zero else np.zeros((), values.dtype)
            if operator == "ConvInteger":  # along the first axis, not the last
                steps, zeros = _upright(steps, values.ndim), _upright(zeros, values.ndim)
            exact = (values.astype(np.int32) - zeros.astype(np.int32)) * steps
            restored = exact.astype(np.float32)
            self._weights[key] = self._writer.constant(restored, f"{name}.fp32")
        return self._weights[key]

    def _drop_unread(self) -> None:
        graph, count = self._graph, 0
        while count != len(graph.node):
            count, read = len(graph.node), names_read(graph)
            kept = [node for node in graph.node if read & set(node.output)]
            del graph.node[:]
            graph.node.extend(kept)
        drop_unread_constants(graph)


def _upright(values: Array, axes: int) -> Array:
    """Return per-filter values, reshaped to broadcast over filters with this many axes."""
    return values.reshape(-1, *[1] * (axes - 1)) if values.ndim == 1 else values
