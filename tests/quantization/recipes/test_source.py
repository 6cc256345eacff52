"""Models that cannot be quantized are refused before any work, with a message."""

from collections.abc import Callable
from itertools import combinations_with_replacement, product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from service.core.errors import ConfigError
from service.quantization.inspection import inspect
from service.quantization.recipes.catalogue import Dynamic, Kind, catalogue
from service.quantization.recipes.source import doubt_of_precision, read_source
from tests.quantization.tiny_models import conv_net, save


def quantized(path: Path) -> Path:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    constants = {"s": np.float32(0.1) + np.zeros((), np.float32), "z": np.zeros((), np.uint8)}
    return save(path, nodes, {"x": ["n", 2]}, {"y": ["n", 2]}, constants)


def unknown(path: Path) -> Path:
    nodes = [helper.make_node("NoSuchOperator", ["x"], ["y"], domain="com.example")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 2])],
        [helper.make_tensor_value_info("y", 1, ["n", 2])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def text(path: Path) -> Path:
    path.write_text("this is no model")
    return path


def doubles(path: Path) -> Path:
    model = onnx.load(conv_net(path))
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    return path


def external(path: Path) -> Path:
    onnx.save(
        onnx.load(conv_net(path)), path, save_as_external_data=True, location="w.bin",
        size_threshold=0,
    )  # fmt: skip
    (path.parent / "w.bin").unlink()
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "there is no file"),
        (text, "not an ONNX model"),
        (quantized, "already quantized"),
        (unknown, "NoSuchOperator"),
        (doubles, "has its weights in FP64"),
        (external, "'w.bin' is not in the folder"),
    ],
)
def test_unsuitable_models_are_refused(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_source(make(tmp_path / "m.onnx"), tmp_path)


def test_models_over_the_protobuf_limit_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.quantization.recipes.source.MOST_BYTES", 1000)
    with pytest.raises(ConfigError, match="GB with its external data"):
        read_source(model, tmp_path)


def test_a_full_disk_is_reported_before_any_work(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.quantization.recipes.source.SPACE", 10**15)
    with pytest.raises(ConfigError, match="MB free; quantizing tiny.onnx needs"):
        read_source(model, tmp_path)


@pytest.mark.parametrize("first", [1, 4])
def test_models_with_a_fixed_number_of_rows_are_accepted(tmp_path: Path, first: int) -> None:
    source = read_source(conv_net(tmp_path / "m.onnx", first), tmp_path)
    assert not source.batched


def test_the_kind_follows_from_the_operators_with_weights(model: Path, tmp_path: Path) -> None:
    assert read_source(model, tmp_path).kinds == {Kind.CONV}


def test_every_kind_but_trees_has_recipes_with_names_of_their_own() -> None:
    for kinds, saturates in product(combinations_with_replacement(Kind, 2), (True, False)):
        names = [recipe.name for recipe in catalogue(frozenset(kinds), saturates)]
        assert len(names) == len(set(names))
        assert bool(names) == (Kind.TREE not in kinds)


def test_recurrent_models_try_dynamic_quantization_first() -> None:
    first = catalogue(frozenset({Kind.RECURRENT, Kind.DENSE}), saturates=False)[0].method
    assert isinstance(first, Dynamic)
    assert "LSTM" in first.ops


@pytest.mark.parametrize(
    ("precision", "doubted"), [("FP32", False), ("no weights", False), ("FP16", True)]
)
def test_sources_that_are_not_fp32_are_noted(precision: str, doubted: bool) -> None:
    assert bool(doubt_of_precision(precision)) == doubted


@pytest.mark.parametrize("entry", [lambda path: read_source(path, path.parent), inspect])
def test_a_model_that_crashes_onnx_runtime_is_reported(
    entry: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    conv_net(path)
    (tmp_path / "crashing_child.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("service.engine.loading.rehearsal.CHILD", "crashing_child")
    with pytest.raises(ConfigError, match=r"crashed the process in which it was tried \(SIGABRT"):
        entry(path)
