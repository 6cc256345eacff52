"""ONNX Runtime's own quantizers, applied to small graphs."""

import logging
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

logging.getLogger().setLevel(logging.ERROR)  # they warn about intended settings


class _Rows(CalibrationDataReader):
    def __init__(self, width: int) -> None:
        rng = np.random.default_rng(0)
        self._rows = iter(rng.standard_normal((16, 1, width)).astype(np.float32))

    def get_next(self) -> dict[str, np.ndarray] | None:
        row = next(self._rows, None)
        return None if row is None else {"x": row}


def dynamic(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """INT8 weights, activations scaled at run time over the whole batch."""
    target = folder / "dynamic.onnx"
    quantize_dynamic(model, target, weight_type=QuantType.QInt8)
    return onnx.load(target)


def static(
    model: onnx.ModelProto,
    folder: Path,
    form: QuantFormat = QuantFormat.QDQ,
    weights: QuantType = QuantType.QInt8,
    width: int = 32,
) -> onnx.ModelProto:
    """Scales fixed from sixteen random rows of "x"."""
    target = folder / "static.onnx"
    quantize_static(
        model, target, _Rows(width), quant_format=form, weight_type=weights, per_channel=True
    )
    return onnx.load(target)
