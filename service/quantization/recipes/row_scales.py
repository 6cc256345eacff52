"""Quantizes activations to 8 bits at run time, with one scale per row.

A row is a vector along the last axis. For x the graph computes a scale m [..., 1] and

    asymmetric     low = min(x), m = max(x) - low     q = round(255 * (x - low) / m)    zero 0
    symmetric      m = max(|x|)                       q = round(127 * x / m) + 128      zero 128
    not negative   m = max(x)                         q = round(255 * x / m)            zero 0
    not below -c   m = max(x + c)                     q = round(255 * (x + c) / m)      zero 0

If m = 0, as for a row of equal values in the asymmetric form, q is arbitrary and is multiplied by
0.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx

from service.core.tensors import Array
from service.quantization.graphs.gelu import LOWEST, is_gelu
from service.quantization.graphs.products import Constants
from service.quantization.graphs.writer import GraphWriter

NOT_NEGATIVE = {"Relu", "Sigmoid", "Softmax", "Abs", "HardSigmoid", "Sqrt", "Exp", "Softplus"}
"""Operators whose outputs are never negative."""
KEEPING = {
    "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "MaxPool",
    "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Concat", "Slice", "Expand",
}  # fmt: skip
"""Operators whose outputs are not negative if their inputs are not."""
MIXING = {
    "MatMul", "Gemm", "Conv", "LayerNormalization", "Softmax", "LSTM", "GRU", "RNN", "Attention",
    "SkipLayerNormalization", "InstanceNormalization", "GroupNormalization", "Einsum",
}  # fmt: skip
"""Operators that propagate a NaN to the whole row."""
DEPTH = 12
"""The maximum number of operators to trace back."""


class Rounded(NamedTuple):
    """A quantized activation: x = (q - zero) * step * scale + low - lift.

    ``q``, ``zero``, ``scale`` [..., 1] and ``low`` [..., 1] ("" for none) are names of tensors;
    ``lift`` is a constant, scalar or [K]. x includes the smoothing ``factors`` [K].
    """

    q: str
    zero: str
    scale: str
    step: float
    low: str
    lift: Array | None
    factors: Array | None


class RowScales:
    """Quantizes the activations of one graph. Each is quantized once for all nodes that read it."""

    def __init__(
        self, graph: onnx.GraphProto, constants: Constants, writer: GraphWriter, asymmetric: bool,
        factors: Mapping[str, Array],
    ) -> None:  # fmt: skip
        """``factors``: smoothing factors [K] by activation."""
        self._makers = {name: node for node in graph.node for name in node.output}
        self._constants = constants
        self._writer = writer
        self._asymmetric = asymmetric
        self._factors = factors
        self._done: dict[str, Rounded] = {}

    def rounded(self, value: str) -> Rounded:
        """Return the quantized activation. Its nodes are written at the first call."""
        if value not in self._done:
            self._done[value] = self._write(value)
        return self._done[value]

    def _write(self, value: str) -> Rounded:
        writer, factors = self._writer, self._factors.get(value)
        x, low, name = value, "", f"{value}.row"
        if factors is not None:
            x = writer.node("Mul", [x, writer.constant(factors, f"{name}.factors")], f"{name}.even")
        lift = self._lift(value)
        if lift is not None:
            x = writer.node("Add", [x, writer.constant(lift, f"{name}.lift")], f"{name}.lifted")
            zero, step, scale = 0, 1 / 255, writer.reduce("ReduceMax", x, f"{name}.max")
        elif self._has_no_sign(value):
            zero, step, scale = 0, 1 / 255, writer.reduce("ReduceMax", x, f"{name}.max")
        elif self._asymmetric:
            zero, step = 0, 1 / 255
            high = writer.reduce("ReduceMax", x, f"{name}.max")
            low = writer.reduce("ReduceMin", x, f"{name}.min")
            scale = writer.node("Sub", [high, low], f"{name}.range")
            x = writer.node("Sub", [x, low], f"{name}.shifted")
        else:
            zero, step = 128, 1 / 127
            size = writer.node("Abs", [x], f"{name}.abs")
            scale = writer.reduce("ReduceMax", size, f"{name}.max")
        if not self._mixed(value):
            scale = self._with_nan(x, scale, name)
        # One division per row instead of one per value.
        inverse = writer.node("Reciprocal", [scale], f"{name}.inverse")
        share = writer.node("Mul", [x, inverse], f"{name}.share")
        steps = writer.shared(f"step_{zero}_{round(1 / step)}", np.float32(step))
        zeros = writer.shared(f"zero_{zero}", np.uint8(zero))
        q = writer.node("QuantizeLinear", [share, steps, zeros], f"{name}.q")
        return Rounded(q, zeros, scale, step, low, lift, factors)

    def _lift(self, value: str) -> Array | None:
        """Return the constant to add for GELU so that the activation is non-negative; otherwise
        None."""
        if not is_gelu(value, self._makers, self._constants):
            return None
        return np.float32(LOWEST) * np.asarray(self._factors.get(value, 1), np.float32)

    def _with_nan(self, x: str, scale: str, name: str) -> str:
        """Return the scale, or NaN if the row contains NaN."""
        # ReduceMax ignores NaN, ReduceSum does not.
        total = self._writer.reduce("ReduceSum", x, f"{name}.sum")
        nothing = self._writer.shared("nothing", np.float32(0))
        nan = self._writer.node("Mul", [total, nothing], f"{name}.nan")
        return self._writer.node("Add", [scale, nan], f"{name}.scale")

    def _has_no_sign(self, value: str, depth: int = DEPTH) -> bool:
        node = self._makers.get(value)
        if node is None or not depth:
            return False
        if node.op_type in KEEPING:
            read = node.input if node.op_type == "Concat" else node.input[:1]
            return all(self._has_no_sign(name, depth - 1) for name in read)
        return node.op_type in NOT_NEGATIVE

    def _mixed(self, value: str, depth: int = DEPTH) -> bool:
        """Return True if a NaN in a row has been propagated to the whole row."""
        node = self._makers.get(value)
        if node is None or not depth or not node.input:
            return False
        if node.op_type in MIXING:
            return True
        every = all if node.op_type == "Concat" else any
        return every(self._mixed(name, depth - 1) for name in node.input)
