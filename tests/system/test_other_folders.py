"""An export of Optimum and a folder that KServe mounts are served unchanged."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.repositories import put, scale
from tests.system.process import running
from tests.system.wire import get, post

LABELS = {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}
BEST = [{"name": "y", "parameters": {"classification": 1}}]


def infer(model: str, *outputs: object) -> bytes:
    x = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 5]}
    body = {"inputs": [x], **({"outputs": outputs} if outputs else {})}
    return post(f"/v2/models/{model}/infer", json.dumps(body).encode())


def export(folder: Path, file: str = "model.onnx") -> None:
    """The files of ``optimum-cli export onnx``, and of ``ORTQuantizer`` beside them."""
    folder.mkdir(parents=True)
    (folder / file).write_bytes(scale(2))
    (folder / "config.json").write_text(json.dumps({"architectures": ["Some"], **LABELS}))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        (folder / name).write_text("{}")
    (folder / "ort_config.json").write_text("{}")


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_an_export_of_optimum_is_served(tmp_path: Path, workers: Sequence[str]) -> None:
    export(tmp_path / "models/whole")
    export(tmp_path / "models/small", "model_quantized.onnx")
    (tmp_path / "models/other").mkdir()
    (tmp_path / "models/other/model.onnx").write_bytes(scale(3))
    with running(tmp_path / "models", *workers, supervised=bool(workers)) as served:
        for model in ("whole", "small"):
            answer = served.ask(infer(model)).json
            assert answer["model_version"] == "1" and answer["outputs"][0]["data"] == [2, 10]
            best = served.ask(infer(model, *BEST)).json["outputs"][0]["data"]
            assert best == ["10.000000:1:POSITIVE"]
        assert served.ask(infer("other", *BEST)).json["outputs"][0]["data"] == ["15.000000:1"]
        index = served.ask(post("/v2/repository/index", b"{}")).json
        assert {each["name"]: each["state"] for each in index} == {
            "whole": "READY",
            "small": "READY",
            "other": "READY",
        }


def test_an_export_may_be_the_models_folder_itself(tmp_path: Path) -> None:
    export(tmp_path / "models")
    with running(tmp_path / "models", "--name", "sentiment") as served:
        best = served.ask(infer("sentiment", *BEST)).json["outputs"][0]["data"]
        assert best == ["10.000000:1:POSITIVE"]


def test_labels_of_model_toml_come_before_those_of_the_export(tmp_path: Path) -> None:
    export(tmp_path / "models/m")
    (tmp_path / "models/m/model.toml").write_text('[outputs.y]\nlabels = ["bad", "good"]\n')
    with running(tmp_path / "models") as served:
        best = served.ask(infer("m", *BEST)).json["outputs"][0]["data"]
        assert best == ["10.000000:1:good"]


@pytest.mark.parametrize("place", ["model.onnx", "resnet.onnx", "1/model.onnx", "onnx/model.onnx"])
def test_a_folder_that_kserve_mounts_is_served(tmp_path: Path, place: str) -> None:
    """With the arguments of deploy/kserve/runtime.yaml."""
    file = tmp_path / "mnt/models" / place
    file.parent.mkdir(parents=True)
    file.write_bytes(scale(2))
    if place.startswith("onnx/"):
        (tmp_path / "mnt/models/config.json").write_text("{}")
    with running(tmp_path / "mnt/models", "--name", "my-service", "--no-pin") as served:
        assert served.ask(infer("my-service")).json["outputs"][0]["data"] == [2, 10]
        assert served.ask(get("/v2/models/my-service/ready")).status == 200


def test_a_repository_that_kserve_mounts_keeps_its_names(tmp_path: Path) -> None:
    put(tmp_path / "mnt", "resnet", 1, scale(2))
    with running(tmp_path / "mnt", "--name", "my-service", "--no-pin") as served:
        assert served.ask(infer("resnet")).json["outputs"][0]["data"] == [2, 10]
        refused = served.ask(infer("my-service"))
        assert refused.status == 404 and "--name is for a model" in refused.json["error"]
