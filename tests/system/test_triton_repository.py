"""A repository that was laid out for Triton is served unchanged."""

import json
from pathlib import Path

import pytest

from tests.repositories import put, scale
from tests.system.process import running
from tests.system.wire import get, post

CONFIG = """
name: "m"
backend: "onnxruntime"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]
instance_group [ { count: 1 kind: KIND_GPU } ]
dynamic_batching { max_queue_delay_microseconds: 100 }
optimization { graph { level: 1 } }
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    put(root, "m", 1, scale(2))
    (root / "m/config.pbtxt").write_text(CONFIG)
    (root / "m/labels.txt").write_text("left\nright\n")
    put(root, "plain", 1, scale(3))
    return root


def infer(model: str, rows: int = 1, **more: object) -> bytes:
    x = {"name": "x", "shape": [rows, 2], "datatype": "FP32", "data": [1, 5] * rows}
    return post(f"/v2/models/{model}/infer", json.dumps({"inputs": [x], **more}).encode())


def test_settings_labels_and_limits_apply_and_the_rest_is_reported(models: Path) -> None:
    with running(models) as served:
        config = served.ask(get("/v2/models/m/config")).json
        assert config["max_batch_size"] == 4
        assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 100
        best = [{"name": "y", "parameters": {"classification": 1}}]
        found = served.ask(infer("m", outputs=best)).json["outputs"][0]["data"]
        assert found == ["10.000000:1:right"]
        assert served.ask(infer("m", rows=5)).status == 400
        assert served.ask(infer("plain", rows=5)).status == 200
        index = served.ask(post("/v2/repository/index", b"{}")).json
        [line] = [each for each in index if each["name"] == "m/config.pbtxt"]
        assert "optimization" in line["reason"] and "KIND_GPU" in line["reason"]


def test_model_toml_takes_precedence_over_config_pbtxt(models: Path) -> None:
    (models / "m/model.toml").write_text("[batching]\nmax_batch_size = 8\n")
    with running(models) as served:
        config = served.ask(get("/v2/models/m/config")).json
        assert config["max_batch_size"] == 8
        assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 100


def test_a_broken_config_pbtxt_fails_only_its_model(models: Path) -> None:
    (models / "m/config.pbtxt").write_text('name: "m"\nmax_batch_size {')
    with running(models, code=0) as served:
        assert served.ask(infer("plain")).status == 200
        index = served.ask(post("/v2/repository/index", b"{}")).json
        told = [each["reason"] for each in index if each["name"] == "m"]
        assert told and "config.pbtxt: line 2:" in told[0]
