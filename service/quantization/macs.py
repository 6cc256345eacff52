"""Multiply-adds of each product for one row, from the shapes that one run shows."""

from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime as ort

from service.core.tensors import Array

PRODUCTS = {
    "Conv", "ConvInteger", "QLinearConv", "Gemm", "QGemm", "MatMul", "MatMulInteger",
    "QLinearMatMul", "MatMulNBits", "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
}  # fmt: skip


def multiply_adds(model: onnx.ModelProto, feed: dict[str, Array] | None) -> list[int | None]:
    """Of each product in the file's order; None where the model cannot be run on a row.

    An output times what each of its values adds up: a filter's size, or the common dimension.
    """
    nodes = [node for node in model.graph.node if node.op_type in PRODUCTS]
    shapes = _shapes(model, nodes, feed) if feed else {}
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    depths = ((node, _depth(node, shapes, weights)) for node in nodes)
    return [
        prod(shapes[node.output[0]]) * depth if depth and node.output[0] in shapes else None
        for node, depth in depths
    ]


def _shapes(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], feed: dict[str, Array]
) -> dict[str, tuple[int, ...]]:
    """Run the graph with all products' first inputs and outputs shown."""
    wanted = {name for node in nodes for name in (node.input[0], node.output[0])}
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
            names = [output.name for output in session.get_outputs()]
            values = session.run(names, feed)
        except Exception:  # an operator that the unoptimised graph has no kernel for
            return {}
    return {n: v.shape for n, v in zip(names, values, strict=True)} | {
        name: array.shape for name, array in feed.items()
    }


def _depth(
    node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], weights: dict[str, tuple[int, ...]]
) -> int:
    """How many products one value of the output adds up."""
    if "Conv" in node.op_type:
        kernel = weights.get(node.input[3 if node.op_type == "QLinearConv" else 1])
        return prod(kernel[1:]) if kernel else 0
    first = shapes.get(node.input[0])
    if not first:
        return 0
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return first[-2] if transposed else first[-1]
