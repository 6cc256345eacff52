"""Applies each method of a recipe with ONNX Runtime's tools, and avoids their known pitfalls."""

from functools import singledispatch
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    HQQWeightOnlyQuantConfig,
    KQuantWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from service.core.tensors import Array
from service.quantization.recipes.catalogue import (
    Dynamic,
    Half,
    Method,
    PerRow,
    Recipe,
    Static,
    WeightOnly,
)
from service.quantization.recipes.per_row import Rewriting, activations_of, rewrite
from service.quantization.recipes.row_kernels import takes_row_scales
from service.quantization.recipes.smoothing import factors, load_peaks, peaks_of, save_peaks

TYPES = {"U8": QuantType.QUInt8, "S8": QuantType.QInt8}
CALIBRATORS = {
    "MinMax": CalibrationMethod.MinMax,
    "Percentile": CalibrationMethod.Percentile,
    "Entropy": CalibrationMethod.Entropy,
}
FORMS = {"QDQ": QuantFormat.QDQ, "QOperator": QuantFormat.QOperator}
TABLE_OPSET = 21
"""The first opset with INT4 tensors."""
PER_ROW_OPSET = 11
"""The lowest tested opset; QuantizeLinear exists since opset 10."""
SMOOTHING_ROWS = 64
"""The number of calibration rows for smoothing."""
BFLOAT_OPSET = 22
"""The first opset with BF16 convolutions; a kernel may still be missing."""


class Calibration(Protocol):
    """Calibration rows, and a file for the ranges."""

    def get_next(self) -> dict[str, Array] | None: ...

    def cache(self, recipe: Recipe) -> Path: ...


def needed_opset(method: Method) -> int:
    """Return the lowest opset in which a method's result is valid."""
    # Scales per channel need opset 13.
    if isinstance(method, PerRow):
        return PER_ROW_OPSET
    if isinstance(method, Half):
        return BFLOAT_OPSET if method.datatype == "BF16" else 13
    tables = isinstance(method, WeightOnly) and method.tables and method.bits < 8
    return TABLE_OPSET if tables else 13


def apply(
    recipe: Recipe, model: onnx.ModelProto, calibration: Calibration, destination: Path
) -> None:
    """Quantize a model, and write it to ``destination``."""
    _apply(recipe.method, recipe, model, calibration, destination)


@singledispatch
def _apply(
    method: Any, recipe: Recipe, model: onnx.ModelProto, calibration: Calibration, to: Path
) -> None:
    raise TypeError(f"unknown method {method}")


@_apply.register
def _(
    method: Dynamic, recipe: Recipe, model: onnx.ModelProto, calibration: Calibration, to: Path
) -> None:
    quantize_dynamic(
        model,
        to,
        op_types_to_quantize=list(method.ops),
        per_channel=method.per_channel,
        reduce_range=method.reduce_range,
        weight_type=TYPES[method.weights],
        nodes_to_exclude=list(recipe.float_nodes),
        # Quantize branches of an If too: some models, such as voice detectors, have all products
        # there. The static tool does not support this.
        extra_options={"EnableSubgraph": True},
    )


@_apply.register
def _(
    method: Static, recipe: Recipe, model: onnx.ModelProto, calibration: Calibration, to: Path
) -> None:
    options: dict[str, Any] = {
        # Otherwise, an INT32 bias with a tiny scale makes the tool change the scales of weights,
        # even of channels without outliers.
        "QDQDisableWeightAdjustForInt32Bias": True,
    }
    if method.inputs_only:
        options |= {
            "MatMulConstBOnly": True,
            "OpTypesToExcludeOutputQuantization": list(method.ops),
        }
    excluded = list(recipe.float_nodes)
    if method.tables:
        model = _tables_to_int8(model)
    if method.inputs_only:
        excluded += _activations_only(model)
    quantize_static(
        model,
        to,
        calibration,
        quant_format=FORMS[method.form],
        op_types_to_quantize=list(method.ops) or None,
        per_channel=method.per_channel,
        reduce_range=method.reduce_range,
        activation_type=TYPES[method.activations],
        weight_type=TYPES[method.weights],
        nodes_to_exclude=excluded,
        calibrate_method=CALIBRATORS[method.calibrator],
        calibration_cache_path=calibration.cache(recipe),
        extra_options=options,
    )


@_apply.register
def _(
    method: PerRow, recipe: Recipe, model: onnx.ModelProto, calibration: Calibration, to: Path
) -> None:
    found = _factors(recipe, model, calibration) if method.smoothing else {}
    rewriting = Rewriting(method, found, frozenset(recipe.float_nodes), takes_row_scales())
    if not rewrite(model, rewriting):
        raise ValueError(
            "the graph has no MatMul or Gemm with constant weights that is large enough to benefit"
        )
    onnx.save(model, to)


@_apply.register
def _(
    method: WeightOnly, recipe: Recipe, model: onnx.ModelProto, calibration: Calibration, to: Path
) -> None:
    onnx.save(in_blocks(method, recipe, model), to)


def in_blocks(method: WeightOnly, recipe: Recipe, model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its weights quantized in blocks of few bits.

    Raises:
        ValueError: the model has no weights that can be quantized in blocks.
    """
    config = _block_config(method, recipe)
    if method.tables and method.bits == 8:
        model = _tables_to_int8(model)
    model = _gemm_as_matmul(model)
    result = _in_blocks(model, config, method, recipe)
    if method.tables and method.bits < 8:
        result = _in_blocks(result, _table_config(method), method, recipe)
    if not any(n.op_type in ("MatMulNBits", "GatherBlockQuantized") for n in result.graph.node):
        raise ValueError("the graph has no MatMul with constant weights")
    return result


@_apply.register
def _(
    method: Half, recipe: Recipe, model: onnx.ModelProto, calibration: Calibration, to: Path
) -> None:
    half = convert_float_to_float16(
        model,
        keep_io_types=True,
        node_block_list=list(recipe.float_nodes),
    )
    if method.datatype == "BF16":
        _to_bfloat16(half)
    onnx.save(half, to)


def _factors(recipe: Recipe, model: onnx.ModelProto, calibration: Calibration) -> dict[str, Array]:
    """Return the smoothing factors of each quantized activation."""
    path, readers = calibration.cache(recipe), activations_of(model)
    peaks = load_peaks(path)
    if peaks is None:
        feeds = islice(iter(calibration.get_next, None), SMOOTHING_ROWS)
        peaks = peaks_of(model, list(readers), feeds)
        save_peaks(peaks, path)
    found = {name: factors(peaks[name], readers[name]) for name in readers if name in peaks}
    return {name: each for name, each in found.items() if each is not None}


def _gemm_as_matmul(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace Gemm by MatMul and Add: the weight-only quantizer supports MatMul only."""
    changed = ONNXModel(model)
    changed.replace_gemm_with_matmul()
    found: onnx.ModelProto = changed.model
    return found


def _block_config(method: WeightOnly, recipe: Recipe) -> Any:
    if method.algorithm == "HQQ":
        return HQQWeightOnlyQuantConfig(method.block, method.bits)
    if method.algorithm == "k_quant":
        wide = {name: {"bits": 8} for name in recipe.wide_nodes}
        return KQuantWeightOnlyQuantConfig(customized_weight_config=wide)
    return DefaultWeightOnlyQuantConfig(
        block_size=method.block,
        is_symmetric=method.symmetric,
        accuracy_level=method.accuracy_level or None,
        op_types_to_quantize=("MatMul",),
        bits=method.bits,
    )


def _in_blocks(
    model: onnx.ModelProto, config: Any, method: WeightOnly, recipe: Recipe
) -> onnx.ModelProto:
    # Only k_quant reads block size and accuracy level from the tool; other configs contain them.
    tool = MatMulNBitsQuantizer(
        model,
        block_size=method.block,
        accuracy_level=method.accuracy_level or None,
        nodes_to_exclude=list(recipe.float_nodes),
        algo_config=config,
    )
    tool.process()
    result: onnx.ModelProto = tool.model.model
    return result


def _table_config(method: WeightOnly) -> Any:
    return DefaultWeightOnlyQuantConfig(
        block_size=method.block,
        is_symmetric=True,
        op_types_to_quantize=("Gather",),
        quant_axes=(("Gather", 1),),
        bits=4,
    )


def _tables_to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantize embedding tables to 8 bits; the gathered rows are dequantized."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "tables.onnx")
        quantize_dynamic(model, path, op_types_to_quantize=["Gather"])
        result = onnx.load(path)
    result.graph.ClearField("value_info")
    result = onnx.shape_inference.infer_shapes(result)
    onnx.helper.set_model_props(result, {"onnx.quant.pre_process": "onnxruntime.quant"})
    return result


def _activations_only(model: onnx.ModelProto) -> list[str]:
    """Return the names of MatMuls of two activations, as in attention."""
    # These stay in float: an attention mask of -3.4e38 would determine their scale.
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Constant", "DequantizeLinear"):
            constants.update(node.output)
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and not set(node.input) & constants
    ]


def _to_bfloat16(model: onnx.ModelProto) -> None:
    """Replace FP16 by BF16 in a converted graph."""
    half, brain = TensorProto.FLOAT16, TensorProto.BFLOAT16
    for tensor in model.graph.initializer:
        if tensor.data_type == half:
            bits = numpy_helper.to_array(tensor).astype(np.float32).view(np.uint32) >> 16
            tensor.ClearField("int32_data")
            tensor.raw_data = bits.astype(np.uint16).tobytes()
            tensor.data_type = brain
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == half:
                attribute.i = brain
    for value in model.graph.value_info:
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = brain
