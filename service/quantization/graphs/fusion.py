"""What ONNX Runtime made of a graph: counted in its own optimised form, not guessed from the file.

A product (convolution, matrix product) that a recipe quantized pays only where the runtime fuses it
with the Q/DQ nodes around it. One left as DequantizeLinear -> float product is slower than before.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from service.core.errors import LoadFailed
from service.engine.runtime.session import Session, SessionOptions
from service.quantization.graphs.parts import all_nodes

INTEGER = {
    "QLinearConv", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "ConvInteger",
    "DynamicQuantizeMatMul", "QAttention", "DynamicQuantizeLSTM", "MatMulNBits",
}  # fmt: skip
FLOAT = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Attention", "LSTM"}
PASSING = {"Transpose", "Reshape", "Cast", "Squeeze", "Unsqueeze", "ReorderInput", "ReorderOutput"}
"""Operators through which a dequantized tensor is still one."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """Products in ONNX Runtime's optimised graph: run in integers; in float though quantized; in
    float as they were meant to be. ``stray`` counts the Quantize/DequantizeLinear nodes left."""

    integer: int
    unfused: int
    floating: int
    stray: int

    @property
    def ratio(self) -> float | None:
        """The share of the quantized products that run in integers; None where none is."""
        quantized = self.integer + self.unfused
        return self.integer / quantized if quantized else None


def fusion_of(path: Path) -> Fusion:
    """Load a file and count.

    Raises:
        LoadFailed: ONNX Runtime does not load it.
    """
    return count(optimised(path))


def optimised(path: Path) -> onnx.ModelProto:
    """The graph as it is run on this CPU when served.

    Raises:
        LoadFailed: it does not load.
    """
    with TemporaryDirectory() as folder:
        written = Path(folder, "optimised.onnx")
        try:
            Session(path, SessionOptions(1, written))
        except LoadFailed as error:  # the file's name says nothing in a report
            raise LoadFailed(str(error).replace(path.name, "it", 1)) from error
        return onnx.load(written, load_external_data=False)  # the weights stay with the file


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
    """Whether a float product reads what was just dequantized."""
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
