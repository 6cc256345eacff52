"""Post-training static quantization: U8 activations, S8 weights, QDQ form, MinMax ranges.

For this combination, ONNX Runtime fuses integer kernels on x86. Ranges are fixed at build time, so
the rows of a batch cannot influence each other. Weights use seven of their eight bits: x86
processors without VNNI add two products in 16 bits, where 8-bit weights overflow and answers
saturate. Measured on the digits, this costs 5.4 points of accuracy; seven bits cost none, at the
same speed.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

Feeds = dict[str, np.ndarray]


class CalibrationRows(CalibrationDataReader):
    """Passes recorded feeds to the calibrator, one at a time."""

    def __init__(self, feeds: list[Feeds]) -> None:
        self._feeds: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> Feeds | None:
        """Return the next feed, or None at the end."""
        return next(self._feeds, None)


def to_int8(
    model: onnx.ModelProto, rows: list[Feeds], ops: list[str], nodes: list[str] | None = None
) -> onnx.ModelProto:
    """Quantize the given kinds of node (or only the named nodes) with ranges measured on `rows`."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        quantize_static(
            _prepared(model),
            path,
            CalibrationRows(rows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=ops,
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(path)


def tables_to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store embedding tables as INT8 with one scale per column; gathered rows are dequantized.

    Gather comes first, so that a request dequantizes only the rows that it needs.
    """
    model = _copy(model)
    tables = {table.name: table for table in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != onnx.TensorProto.FLOAT:
            nodes.append(node)
        else:
            nodes.extend(_gather_int8(model.graph, node, table))
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


def _gather_int8(
    graph: onnx.GraphProto, gather: onnx.NodeProto, table: onnx.TensorProto
) -> list[onnx.NodeProto]:
    values = numpy_helper.to_array(table)
    scale = np.maximum(np.abs(values).max(axis=0), 1e-12).astype(np.float32) / np.float32(127)
    table.CopyFrom(numpy_helper.from_array(np.round(values / scale).astype(np.int8), table.name))
    scales = numpy_helper.from_array(scale, f"{table.name}.scale")
    zeros = numpy_helper.from_array(np.zeros(len(scale), np.int8), f"{table.name}.zero")
    graph.initializer.extend([scales, zeros])
    to = gather.output[0]
    gather.name = gather.output[0] = f"{to}.int8"
    dequantize = helper.make_node(
        "DequantizeLinear", [f"{to}.int8", scales.name, zeros.name], [to], name=to, axis=-1
    )
    return [gather, dequantize]


def _prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    # A copy, because the quantizer moves the weights of the given model into a file.
    prepared = onnx.shape_inference.infer_shapes(model)
    # Hand-written graphs need no pre-processing such as fusion; this property says so.
    helper.set_model_props(prepared, {"onnx.quant.pre_process": "onnxruntime.quant"})
    return prepared


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
