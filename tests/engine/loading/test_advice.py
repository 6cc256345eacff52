"""The advice for dynamically quantized models, by batching mode."""

import shlex
from pathlib import Path

import onnx
import pytest
from onnxruntime.quantization import quantize_dynamic

from service.core.batching import BatchingMode
from service.engine.loading.advice import sharing_runs
from service.engine.loading.plan import Plan
from service.engine.onnx_file.summary import summarise
from service.quantization.recipes.catalogue import PerRow
from service.quantization.recipes.per_row import Rewriting, rewrite
from tests.quantization.recipes.test_per_row import network


def plan(mode: BatchingMode) -> Plan:
    return Plan(mode, 1, 1, 1, False, "")


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    path = tmp_path / "my models/m/3/model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(network(), tmp_path / "fp32.onnx")
    quantize_dynamic(tmp_path / "fp32.onnx", path)
    return path


def test_the_advice_for_row_by_row_models_is_a_quantize_command(dynamic: Path) -> None:
    model = dynamic.relative_to(dynamic.parents[2])
    told = sharing_runs(plan(BatchingMode.ROWS), summarise(dynamic), model, "m")
    words = shlex.split(told.partition(": ")[2])
    assert words == [
        "quantserve", "quantize", "--from-int8", "m/3/model.onnx", "--data", "ROWS", "--name", "m",
        "--models", ".",
    ]  # fmt: skip


@pytest.mark.parametrize("mode", [BatchingMode.COMBINE, BatchingMode.REQUESTS])
def test_there_is_no_advice_for_other_batching_modes(mode: BatchingMode, dynamic: Path) -> None:
    assert sharing_runs(plan(mode), summarise(dynamic), dynamic, "m") == ""


def test_there_is_no_advice_for_models_with_a_scale_per_row(dynamic: Path) -> None:
    model = network()
    rewrite(model, Rewriting(PerRow(), {}, frozenset()))
    onnx.save(model, dynamic)
    assert str(summarise(dynamic).precision).startswith("INT8 per-row")
    assert sharing_runs(plan(BatchingMode.ROWS), summarise(dynamic), dynamic, "m") == ""
