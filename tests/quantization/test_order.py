"""The whole way on a small model: from a file and rows to a version, and what stops it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.config import ModelConfig
from service.core.errors import ConfigError
from service.engine.loading import load
from service.quantization.data import Rows, Split
from service.quantization.order import Order, _key, carry_out
from service.quantization.recipes import Recipe, Static, WeightOnly

FEW = (
    Recipe("static", Static(reduce_range=True)),
    Recipe("weight-only", WeightOnly(4)),
)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two recipes instead of all."""
    monkeypatch.setattr("service.quantization.search.catalogue", lambda kinds, vnni: FEW)


def quantize(model: Path, data: Path | str, models: Path, **more: object) -> dict:
    carry_out(Order(model, str(data), models=models, timing_seconds=0.02, threads=1, **more))  # type: ignore[arg-type]
    home = models / "tiny"
    newest = max((p for p in home.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    report: dict = json.loads((newest / "report.json").read_text())
    return report


@pytest.mark.usefixtures("few")
def test_a_search_ends_with_a_version_that_serves(model: Path, data: Path, tmp_path: Path) -> None:
    report = quantize(model, data, tmp_path / "models", target="size", max_drop=1.0)
    home = tmp_path / "models/tiny"
    assert sorted(p.name for p in home.iterdir()) == ["1", "golden.npz"]
    assert sorted(p.name for p in (home / "1").iterdir()) == [
        "model.onnx", "report.html", "report.json",
    ]  # fmt: skip
    names = [row["name"] for row in report["candidates"]]
    assert names[:2] == ["static", "weight-only"]
    static = report["candidates"][0]
    assert static["fusion_ratio"] == 1.0
    assert static["batch_invariant"]
    assert static["timing"]["latency_ratio"] > 0
    assert static["quality"]["metric"] == "accuracy"
    assert load(home / "1", ModelConfig(), 1).signature.batchable


def test_when_nothing_is_better_fp32_stays_and_a_second_version_keeps_the_golden_rows(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.quantization.search.catalogue", lambda kinds, vnni: FEW[1:])
    # A tiny model's files hardly shrink, and no ratio of speed can be believed in a test.
    with np.load(data) as rows:
        np.savez(data, x=rows["x"])
    models = tmp_path / "models"
    report = quantize(model, data, models, target="size", max_drop=0.0, metric="cosine")
    assert report["decision"]["winner"] is None
    assert report["decision"]["reason"].startswith("FP32 stays")
    assert (models / "tiny/1/model.onnx").read_bytes() == model.read_bytes()
    golden = (models / "tiny/golden.npz").stat().st_mtime_ns
    quantize(model, data, models, target="size", max_drop=0.0, metric="cosine")
    assert (models / "tiny/2").is_dir()
    assert (models / "tiny/golden.npz").stat().st_mtime_ns == golden


@pytest.mark.usefixtures("few")
def test_random_rows_say_loudly_that_accuracy_is_unknown(model: Path, tmp_path: Path) -> None:
    report = quantize(model, "random", tmp_path / "models", target="size")
    assert report["decision"]["reason"].startswith("ACCURACY WAS NOT MEASURED")


def test_another_models_folder_is_refused(data: Path, model: Path, tmp_path: Path) -> None:
    home = tmp_path / "models/tiny"
    home.mkdir(parents=True)
    np.savez(home / "golden.npz", **{"inputs/other": np.zeros((1, 2), np.float32)})
    with pytest.raises(ConfigError, match="tiny is another model: .*choose another --name"):
        quantize(model, data, tmp_path / "models")


def test_a_given_file_must_be_quantized_and_fit(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--qat tiny.onnx is not quantized"):
        quantize(model, data, tmp_path / "models", qat=(model,))
    assert not (tmp_path / "models/tiny").exists()


def test_a_name_must_be_one(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a name"):
        carry_out(Order(model, str(data), name="../x", models=tmp_path))


def test_a_stopped_search_leaves_no_version_and_goes_on_later(
    model: Path, data: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "service", "quantize", str(model), "--data", str(data),
               "--models", str(tmp_path / "models"), "--target", "size"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        home = tmp_path / "models/tiny"
        until = time.monotonic() + 60
        while not list(home.glob(".quantize/*/journal.jsonl")) and time.monotonic() < until:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)  # the journal of another process cannot be awaited
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert [p.name for p in home.iterdir() if p.name.isdigit()] == []
    assert list(home.glob(".quantize/*/journal.jsonl"))


def test_other_weights_beside_the_file_are_another_search(model: Path, tmp_path: Path) -> None:
    rows = Rows(((np.zeros((1, 1, 8, 8), np.float32),),))
    keys = []
    for scale in (1, 2):
        changed = onnx.load(model)
        for tensor in changed.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor) * np.float32(scale)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        path = tmp_path / str(scale) / "m.onnx"
        path.parent.mkdir()
        onnx.save(changed, path, save_as_external_data=True, location="w", size_threshold=0)
        keys.append(_key(Order(path, "rows"), Split(rows, rows, rows)))
    first, second = (tmp_path / f"{scale}/m.onnx" for scale in (1, 2))
    assert first.read_bytes() == second.read_bytes()
    assert keys[0] != keys[1]
