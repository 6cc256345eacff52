"""Counts integer and float products in the graph that ONNX Runtime's optimiser produces.

A quantized product (convolution, matrix product) is faster only if the runtime fuses it with the
Q/DQ nodes around it. If it remains DequantizeLinear -> float product, it is slower than FP32.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from service.core.errors import LoadFailed
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.quantization.graphs.parts import all_nodes

INTEGER = {
    "QLinearConv", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "ConvInteger",
    "DynamicQuantizeMatMul", "QAttention", "DynamicQuantizeLSTM", "MatMulNBits",
}  # fmt: skip
FLOAT = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Attention", "LSTM"}
PASSING = {"Transpose", "Reshape", "Cast", "Squeeze", "Unsqueeze", "ReorderInput", "ReorderOutput"}
"""Operators that only move values: their output is dequantized if their input is."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """Numbers of products in ONNX Runtime's optimised graph.

    ``integer``: run in integers. ``unfused``: quantized, but run in float. ``floating``: not
    quantized. ``stray`` counts the remaining Quantize/DequantizeLinear nodes.
    """

    integer: int
    unfused: int
    floating: int
    stray: int

    @property
    def ratio(self) -> float | None:
        """The share of the quantized products that run in integers; None if none is quantized."""
        quantized = self.integer + self.unfused
        return self.integer / quantized if quantized else None


def fusion_of(path: Path) -> Fusion:
    """Load a file and count its products.

    Raises:
        LoadFailed: ONNX Runtime does not load it.
    """
    return count(optimised(path))


def optimised(path: Path) -> onnx.ModelProto:
    """Return the optimised graph of a file on this CPU, as served, without external weights.

    Raises:
        LoadFailed: ONNX Runtime does not load the file.
    """
    with TemporaryDirectory() as folder:
        written = Path(folder, "optimised.onnx")
        try:
            Session(path, SessionOptions(1, written))
        except LoadFailed as error:  # leave the temporary file's name out of reports
            raise LoadFailed(str(error).replace(path.name, "it", 1)) from error
        return onnx.load(written, load_external_data=False)


def count(model: onnx.ModelProto) -> Fusion:
    """Count the products of an optimised graph."""
    nodes = list(all_nodes(model.graph))
    makers = {name: node for node in nodes for name in node.output}
    integer = sum(node.op_type in INTEGER for node in nodes)
    floats = [node for node in nodes if node.op_type in FLOAT]
    unfused = sum(unfused_product(node, makers) for node in floats)
    counts = Counter(node.op_type for node in nodes)
    stray = counts["QuantizeLinear"] + counts["DequantizeLinear"]
    return Fusion(integer, unfused, len(floats) - unfused, stray)


def unfused_product(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> bool:
    """Return True if a float product reads a dequantized tensor."""
    return any(_dequantized(name, makers) for name in node.input[:2])


def _dequantized(name: str, makers: dict[str, onnx.NodeProto]) -> bool:
    for _ in range(4):
        node = makers.get(name)
        if node is None:
            return False
        if node.op_type == "DequantizeLinear":
            return True
        if node.op_type not in PASSING:
            return False
        name = node.input[0]
    return False
