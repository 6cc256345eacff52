"""Counts the multiply-adds of each product for one row, from the shapes of one run."""

from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime as ort

from service.core.tensors import Array
from service.quantization.graphs.parts import all_nodes

RECURRENT = {"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"}
PRODUCTS = RECURRENT | {
    "Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "Gemm", "QGemm", "MatMul",
    "MatMulInteger", "QLinearMatMul", "MatMulNBits", "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
}  # fmt: skip


def multiply_adds(model: onnx.ModelProto, feed: dict[str, Array] | None) -> list[int | None]:
    """Return the multiply-adds of each product, in the file's order. The value is None if the model
    cannot be run on a row. It is also None for products in branches and loops, whose number of
    iterations is unknown."""
    nodes = [node for node in all_nodes(model.graph) if node.op_type in PRODUCTS]
    shapes = _shapes(model, nodes, feed) if feed else {}
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    known = shapes | weights
    return [_work(node, known) or None for node in nodes]


def _work(node: onnx.NodeProto, known: dict[str, tuple[int, ...]]) -> int:
    """Return the multiply-adds of a node; 0 if a shape is unknown.

    This is the number of output elements times the number of products that are summed for each
    element: the filter's size, or the common dimension. A recurrence multiplies all its weights in
    each step; a transposed convolution multiplies a filter with each input element.
    """
    first, output = known.get(node.input[0]), known.get(node.output[0])
    if node.op_type in RECURRENT:
        sizes = [prod(known.get(name, (0,))) for name in node.input[1:3]]
        return prod(first[:2]) * sum(sizes) if first and all(sizes) else 0
    if node.op_type == "ConvTranspose":
        filters = known.get(node.input[1])
        return prod(first) * prod(filters[1:]) if first and filters else 0
    return prod(output) * _depth(node, known) if output else 0


def _shapes(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], feed: dict[str, Array]
) -> dict[str, tuple[int, ...]]:
    """Run the graph with the inputs and outputs of all products as graph outputs."""
    wanted = {name for node in nodes for name in (*node.input[:3], node.output[0])} - {""}
    made = {name for node in model.graph.node for name in node.output}
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    present = {value.name for value in shown.graph.output}
    shown.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in sorted((wanted & made) - present)
    )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    with TemporaryDirectory() as folder:
        path = Path(folder, "shown.onnx")
        onnx.save(shown, path)
        try:
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            given = session.get_outputs()
            names = [output.name for output in given if output.type.startswith("tensor")]
            values = session.run(names, feed)
        except Exception:  # an operator without a kernel in the unoptimised graph
            return {}
    return {n: v.shape for n, v in zip(names, values, strict=True)} | {
        name: array.shape for name, array in feed.items()
    }


def _depth(node: onnx.NodeProto, known: dict[str, tuple[int, ...]]) -> int:
    """Return the number of products that are summed for one output element."""
    if "Conv" in node.op_type:
        kernel = known.get(node.input[3 if node.op_type == "QLinearConv" else 1])
        return prod(kernel[1:]) if kernel else 0
    first = known.get(node.input[0])
    if not first:
        return 0
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return first[-2] if transposed else first[-1]
