"""Describes a model file, and the graph that ONNX Runtime runs on this CPU, node by node."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from service.core.errors import ConfigError, LoadFailed
from service.core.tensors import Array
from service.engine.cpu.fusions import slow_fusions
from service.engine.cpu.kernels import Kernels
from service.engine.cpu.machine import Machine, read_machine
from service.engine.loading.rehearsal import rehearse_file
from service.engine.loading.samples import generated_rows
from service.engine.onnx_file.summary import Precision, check_external_files, summarise
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.quantization.graphs.fusion import FLOAT, INTEGER, count, optimised, unfused_product
from service.quantization.graphs.macs import multiply_adds
from service.quantization.graphs.parts import all_nodes
from service.quantization.recipes.source import files_of

NEVER_QUANTIZED = {"ConvTranspose", "GRU", "RNN"}
"""Products for which ONNX Runtime has no integer kernel."""


@dataclass(frozen=True, slots=True)
class NodeLine:
    """One product of the optimised graph. ``precision`` is integer, float, or unfused (a float
    product of dequantized values)."""

    name: str
    operator: str
    precision: str
    multiply_adds: int | None


@dataclass(frozen=True, slots=True)
class TensorLine:
    """A quantized weight or bias, or the scale of an activation (``values`` 0).

    ``granularity`` states which values share a scale, such as "per channel". ``block`` is the
    number of values that share a scale if rows are split into blocks, else 0. ``saturated`` is the
    share of values at the ends of the range, ``used`` the share of the range between the smallest
    and the largest value; both are 0 for 32-bit biases.
    """

    name: str
    datatype: str
    values: int
    scales: int
    scale_min: float
    scale_max: float
    zero_min: int
    zero_max: int
    saturated: float
    used: float
    granularity: str = ""
    block: int = 0


def inspect(path: Path, kernels: Kernels | None = None) -> dict[str, Any]:
    """Describe a file as plain values. ``kernels`` is the setting of its model.toml, if any.

    Raises:
        ConfigError: ONNX Runtime does not load the file.
    """
    try:
        summary = summarise(path)
        check_external_files(summary, path.parent)
        precision = summary.precision
        rehearse_file(path)
        session = Session(path, SessionOptions(1, kernels=kernels))
        runtime = optimised(path)
        model = onnx.load(path)
    except LoadFailed as error:
        raise ConfigError(str(error)) from None
    fusion = count(runtime)
    work = multiply_adds(model, _feed(session))
    nodes = _nodes(runtime, work)
    return {
        "file": path.name,
        "file_bytes": sum(file.stat().st_size for file in files_of(path)),
        "precision": str(precision),
        "kernels": session.kernels.value,
        "kernels_note": session.kernels_note,
        "fusions_disabled": list(slow_fusions(summary.operators)),
        "outputs_note": session.outputs_note,
        "weights": dict(precision.shares),
        "operators": dict(Counter(n.op_type for n in all_nodes(runtime.graph)).most_common()),
        "fusion": asdict(fusion) | {"ratio": fusion.ratio},
        "multiply_adds": sum(amount or 0 for amount in work),
        "multiply_adds_unknown": work.count(None),
        "products": [asdict(node) for node in nodes],
        "tensors": [
            asdict(replace(line, granularity=_granularity(line, precision)))
            for line in tensors_of(model)
        ],
        "here": _here(precision, fusion.unfused, read_machine()),
    }


def tensors_of(model: onnx.ModelProto) -> list[TensorLine]:
    """Return the quantized tensors of Q/DQ pairs and of integer operators, with their scales."""
    constants = {t.name: t for t in model.graph.initializer}
    rounded = {n.output[0] for n in all_nodes(model.graph) if n.op_type == "QuantizeLinear"}
    lines: dict[str, TensorLine] = {}
    for node in all_nodes(model.graph):
        for tensor, scale, zero in _triples(node):
            if tensor in lines or tensor in rounded or scale not in constants:
                continue
            scales = numpy_helper.to_array(constants[scale]).ravel()
            zeros = numpy_helper.to_array(constants[zero]) if zero in constants else None
            weight = numpy_helper.to_array(constants[tensor]) if tensor in constants else None
            if scales.dtype.kind == "f" and scales.size:
                line = _line(tensor, weight, scales, zeros)
                lines[tensor] = replace(line, block=_block(node))
    return list(lines.values())


def _granularity(line: TensorLine, precision: Precision) -> str:
    """Return the granularity of the scales of a tensor, such as "per channel"."""
    if not line.values:
        if precision.scheme == "per-row":
            return "per row, at run time"
        return "per tensor"
    if line.scales == 1:
        return "per tensor"
    return f"per block of {line.block}" if line.block else "per channel"


def _block(node: onnx.NodeProto) -> int:
    """Return the block size of a node with weights in blocks, else 0."""
    return next((each.i for each in node.attribute if each.name == "block_size"), 0)


def _triples(node: onnx.NodeProto) -> list[tuple[str, str, str]]:
    """Return the names (tensor, scale, zero point) of a node's quantized inputs."""
    names = [*node.input, *("",) * 12]
    places: dict[str, list[tuple[int, int, int]]] = {
        "QuantizeLinear": [(0, 1, 2)],
        "DequantizeLinear": [(0, 1, 2)],
        "QLinearConv": [(0, 1, 2), (3, 4, 5)],
        "QLinearMatMul": [(0, 1, 2), (3, 4, 5)],
        "QGemm": [(0, 1, 2), (3, 4, 5)],
        "MatMulIntegerToFloat": [(1, 3, 5)],
        "DynamicQuantizeMatMul": [(1, 2, 3)],
        "DynamicQuantizeLSTM": [(1, 8, 9), (2, 10, 11)],
        "MatMulNBits": [(1, 2, 3)],
        "GatherBlockQuantized": [(0, 2, 3)],
    }
    return [(names[t], names[s], names[z]) for t, s, z in places.get(node.op_type, [])]


def _line(name: str, weight: Array | None, scales: Array, zeros: Array | None) -> TensorLine:
    kind = weight.dtype if weight is not None else (zeros.dtype if zeros is not None else None)
    saturated, used = 0.0, 0.0
    if weight is not None and weight.size and weight.dtype.itemsize == 1:
        low, high = np.iinfo(weight.dtype).min, np.iinfo(weight.dtype).max
        # Symmetric weights do not use the lowest value of a signed type.
        ends = (weight <= low + (low < 0)) | (weight >= high)
        saturated = float(ends.mean())
        used = (float(weight.max()) - float(weight.min()) + 1) / (high - low + 1)
    flat = zeros.astype(np.int64).ravel() if zeros is not None and zeros.size else np.zeros(1, int)
    return TensorLine(
        name, str(kind or "uint8"), 0 if weight is None else int(weight.size), int(scales.size),
        float(scales.min()), float(scales.max()), int(flat.min()), int(flat.max()),
        saturated, used,
    )  # fmt: skip


def _nodes(runtime: onnx.ModelProto, work: list[int | None]) -> list[NodeLine]:
    """Return the products of the optimised graph. ``work`` contains the multiply-adds of the file's
    products."""
    nodes = list(all_nodes(runtime.graph))
    makers = {name: node for node in nodes for name in node.output}
    products = [node for node in nodes if node.op_type in INTEGER | FLOAT | NEVER_QUANTIZED]
    # Fusions keep the order of products, so they match by position if their number is the same.
    amounts = work if len(work) == len(products) else [None] * len(products)
    return [
        NodeLine(
            node.name or next(filter(None, node.output)),
            node.op_type,
            _precision(node, makers),
            amount,
        )
        for node, amount in zip(products, amounts, strict=True)
    ]


def _precision(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> str:
    if node.op_type in INTEGER:
        return "integer"
    return "unfused" if unfused_product(node, makers) else "float"


def _feed(session: Session) -> dict[str, Array] | None:
    """Return a generated row that the model accepts, to determine inner shapes; None if there is
    none."""
    rows, _ = generated_rows(session.signature, {}, session.run)
    if not rows:
        return None
    return {s.name: a for s, a in zip(session.signature.inputs, rows[0], strict=True)}


def _here(precision: Precision, unfused: int, machine: Machine) -> list[str]:
    scheme, weights, said = precision.scheme, dict(precision.shares), []
    if unfused:
        said.append(
            f"{unfused} quantized products run in float after a DequantizeLinear: slower than FP32."
        )
    if scheme in ("QDQ", "QOperator", "dynamic", "per-row"):
        said.append(machine.advice[0])
    if scheme == "dynamic":
        said.append("Dynamic: one scale for a whole batch, so rows influence each other's answers.")
    if scheme == "per-row":
        said.append("Per-row: each row has its own scale, so rows do not influence each other.")
    if scheme == "weight-only":
        said.append(machine.advice[1])
    if "FP16" in weights or "BF16" in weights:
        said.append(machine.advice[2])
    if precision.trees:
        said.append("Trees run in float: ONNX Runtime has no integer kernels for them.")
    return said or ["FP32: not quantized; `quantserve quantize` searches for a faster version."]
