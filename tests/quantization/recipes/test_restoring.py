"""Removal of dynamic quantization: the float form computes with the stored weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from service.core.errors import ConfigError
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.quantization.recipes.converting import restored
from service.quantization.recipes.restoring import restore
from tests.quantization.recipes.test_per_row import (
    HIDDEN,
    WIDTH,
    error,
    model_of,
    network,
    rows,
    run,
)


def quantized(model: onnx.ModelProto, folder: Path, **options: object) -> Path:
    path, to = folder / "fp32.onnx", folder / "int8.onnx"
    onnx.save(model, path)
    quantize_dynamic(path, to, **options)  # type: ignore[arg-type]
    return to


@pytest.mark.parametrize("weights", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_products_become_float(weights: QuantType, per_channel: bool, tmp_path: Path) -> None:
    given = quantized(network(), tmp_path, weight_type=weights, per_channel=per_channel)
    model = onnx.load(given)
    assert restore(model) == {"MatMul": 2}
    onnx.checker.check_model(model)
    assert not {n.op_type for n in model.graph.node} & {"MatMulInteger", "DynamicQuantizeLinear"}
    assert all(t.data_type == TensorProto.FLOAT for t in model.graph.initializer)
    assert error(run(network(), rows(6)), run(model, rows(6))) < 0.03


def test_the_optimised_form_is_recognised_too(tmp_path: Path) -> None:
    given = quantized(network(), tmp_path, per_channel=True, weight_type=QuantType.QInt8)
    optimised = tmp_path / "optimised.onnx"
    Session(given, SessionOptions(1, optimised))
    model = onnx.load(optimised)
    assert any(node.op_type == "DynamicQuantizeMatMul" for node in model.graph.node)
    assert restore(model)["MatMul"] == 2
    assert error(run(network(), rows(6)), run(model, rows(6))) < 0.03


def test_tables_and_convolutions_become_float(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["image"]),
        helper.make_node("Conv", ["image", "filters"], ["map"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("ArgMax", ["x"], ["place"], axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "place"], ["row"]),
        helper.make_node("Add", ["flat", "row"], ["y"]),
    ]
    constants = {
        "shape": np.array([-1, 1, 16, 16]),
        "filters": rng.standard_normal((8, 1, 3, 3)).astype(np.float32),
        "table": rng.standard_normal((WIDTH, 8)).astype(np.float32),
    }
    source = model_of(nodes, constants)
    model = onnx.load(quantized(source, tmp_path, op_types_to_quantize=["Conv", "Gather"]))
    assert restore(model) == {"Conv": 1, "Gather": 1}
    assert error(run(source, rows(6)), run(model, rows(6))) < 0.03


def test_other_quantized_models_are_refused_with_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "plain.onnx"
    onnx.save(network(), path)
    for given, content, why in (
        (path, None, r"plain\.onnx: it is FP32 and contains no product that onnxruntime\."),
        (tmp_path, None, "there is no such file"),
        (path, b"no model", r"--from-int8 plain\.onnx: .*is not an ONNX model"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=why), restored(given, tmp_path):
            pass


def test_a_computed_weight_is_kept(tmp_path: Path) -> None:
    given = quantized(network(), tmp_path)
    model = onnx.load(given)
    weight = next(t for t in model.graph.initializer if t.name == "w2_quantized")
    model.graph.input.append(
        helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
    )
    assert restore(model) == {"MatMul": 1}
    kept = numpy_helper.to_array(weight)
    assert kept.shape == (WIDTH, HIDDEN)
