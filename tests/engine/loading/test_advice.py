"""What is advised for dynamically quantized models, by how they are run."""

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


def test_rows_that_are_kept_apart_may_share_runs_by_a_command(dynamic: Path) -> None:
    model = dynamic.relative_to(dynamic.parents[2])
    told = sharing_runs(plan(BatchingMode.ROWS), summarise(dynamic), model, "m")
    words = shlex.split(told.partition(": ")[2])
    assert words == [
        "quantserve", "quantize", "--from-int8", "m/3/model.onnx", "--data", "ROWS", "--name", "m",
        "--models", ".",
    ]  # fmt: skip


@pytest.mark.parametrize("mode", [BatchingMode.COMBINE, BatchingMode.REQUESTS])
def test_nothing_is_advised_where_rows_share_runs_or_are_none(
    mode: BatchingMode, dynamic: Path
) -> None:
    assert sharing_runs(plan(mode), summarise(dynamic), dynamic, "m") == ""


def test_nothing_is_advised_for_what_has_a_scale_for_each_row(dynamic: Path) -> None:
    model = network()
    rewrite(model, Rewriting(PerRow(), {}, frozenset()))
    onnx.save(model, dynamic)
    assert str(summarise(dynamic).precision).startswith("INT8 per-row")
    assert sharing_runs(plan(BatchingMode.ROWS), summarise(dynamic), dynamic, "m") == ""
