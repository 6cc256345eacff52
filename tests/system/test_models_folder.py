"""A typical models folder: entries that are not served are reported in table, log and index."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.repositories import put, scale
from tests.system.process import KEY, ROOT, Running, running

ODD = {
    "my model": "rename it to my_model",
    "modèle": "rename it to modele",
    r"caf\xe9": "rename it to caf",
    "torch": "PyTorch is not served, only ONNX is",
    "empty": "it is empty",
    "broken": "is a link to nothing",
    "good/v5": "rename it to 5",
    "good/²": "rename it to 2",
    "good/99999999999999999999": "at most 18 digits",
    "good/model.onnx": "the folder 1 is version 1: move it to 5/model.onnx",
    "loose.tflite": "TensorFlow Lite is not served",
}
FACTORS = {"own": 10, "style": 2, "good": 3, "optimum": 5, "hf": 7}
SILENT = ("README.md", ".git", "lost+found", "notes")


def shown(url: str, data: bytes | None) -> urllib.request.Request:
    """Send a request with the admin key."""
    return urllib.request.Request(url, data, {"X-API-Key": KEY})


def call(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(shown(url, data), timeout=10) as reply:
            return reply.status, json.loads(reply.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def ready(served: Running) -> tuple[int, str]:
    """Return the exit code and the output of ``quantserve ready``."""
    command = [sys.executable, "-m", "service", "ready", "--url", f"http://{served.address}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def answers(served: Running, name: str) -> float | None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 1]}
    status, answer = call(f"http://{served.address}/v2/models/{name}/infer", {"inputs": [tensor]})
    return float(answer["outputs"][0]["data"][0]) if status == 200 else None


def write(path: Path, factor: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(scale(factor))


def odd(root: Path) -> Path:
    """A folder with every kind of entry."""
    write(root / "model.onnx", 10)
    write(root / "style/model.onnx", 2)
    write(root / "optimum/1/model_quantized.onnx", 5)
    write(root / "hf/onnx/model.onnx", 7)
    for version in (1, 3):
        put(root, "good", version, scale(version))
    write(root / "good/model.onnx", 9)
    folders = ["good/4", "good/v5", "good/²", "good/99999999999999999999", "empty", "lost+found"]
    folders += [".git", "my model", "modèle", "torch", os.fsdecode(b"caf\xe9")]
    for folder in folders:
        (root / folder).mkdir()
    for file in ("torch/model.pt", "README.md", "loose.tflite", "hf/config.json"):
        (root / file).touch()
    write(root / "several/1/encoder.onnx", 1)
    write(root / "several/1/decoder.onnx", 1)
    (root / "broken").symlink_to("nowhere")
    return root


def test_unserved_entries_are_reported_everywhere_and_models_are_served(tmp_path: Path) -> None:
    with running(odd(tmp_path), "--name", "own") as served:
        assert {name: answers(served, name) for name in FACTORS} == FACTORS
        status, index = call(f"http://{served.address}/v2/repository/index", {})
        assert status == 200
        entries = {each["name"]: each for each in index if "version" not in each}
        logged = {line["message"] for line in served.logged()}
        for path, reason in ODD.items():
            assert entries[path]["state"] == "UNAVAILABLE"
            assert reason in entries[path]["reason"]
            told = [line for line in served.told.splitlines() if f"{path}: " in line]
            assert told and reason in told[0]
            assert f"{path} is not served: {entries[path]['reason']}" in logged
        assert entries.keys() == ODD.keys()
        versions = {(each["name"], each.get("version")): each["reason"] for each in index}
        for key, reason in {
            ("good", "4"): "there is no model.onnx in the folder of the version",
            ("several", "1"): "decoder.onnx, encoder.onnx; name one in model.toml",
        }.items():
            assert reason in versions[key] and reason in served.told
            assert any(reason in line for line in logged)
        assert not any(name in served.told for name in SILENT)
        assert ready(served) == (0, "ready\n")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "nothing to serve: the models folder holds no model, expected <name>/1/model.onnx"),
        ("my model/1/model.onnx", "nothing to serve: my model: it cannot be the name of a model"),
        ("m/1/model.pt", "nothing to serve: m: version 1: load: there is no model.onnx in the fol"),
    ],
)
def test_a_server_with_nothing_to_serve_is_live_and_not_ready(
    tmp_path: Path, name: str, reason: str
) -> None:
    if name:
        write(tmp_path / name, 1)
    with running(tmp_path) as served:
        status, answer = call(f"http://{served.address}/v2/health/ready")
        assert status == 503 and answer["error"].startswith(reason)
        assert call(f"http://{served.address}/v2/health/live")[0] == 200
        code, text = ready(served)
        assert code == 1 and reason in text
        assert "not ready: nothing to serve" in served.printed


def test_a_server_that_waits_for_uploads_is_ready_and_serves_them(tmp_path: Path) -> None:
    with running(tmp_path, "--allow-empty") as served:
        assert ready(served) == (0, "ready\n")
        place = f"http://{served.address}/admin/models/m/versions"
        with urllib.request.urlopen(shown(place, scale(4)), timeout=10) as reply:
            assert reply.status == 201
        assert call(f"http://{served.address}/admin/models/m/swap", {"version": 1})[0] == 200
        assert answers(served, "m") == 4


def test_unprintable_names_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    put(tmp_path, "m", 1, scale(1))
    (tmp_path / "模型").mkdir()
    with running(tmp_path, "--log-format", "text") as served:
        assert r"\u6a21\u578b: it cannot be the name" in served.printed
        assert answers(served, "m") == 1


def test_a_flat_model_gets_a_second_version_and_rolls_back(tmp_path: Path) -> None:
    write(tmp_path / "m/model.onnx", 1)
    with running(tmp_path) as served:
        admin = f"http://{served.address}/admin/models/m"
        with urllib.request.urlopen(shown(f"{admin}/versions", scale(2)), timeout=10) as reply:
            assert json.load(reply)["version"] == 2
        assert answers(served, "m") == 1
        assert call(f"{admin}/swap", {"version": 2})[0] == 200 and answers(served, "m") == 2
        assert call(f"{admin}/rollback", {})[0] == 200 and answers(served, "m") == 1
        versions = call(f"{admin}/versions")[1]
        assert (versions["serving"], versions["pinned"]) == (1, 1)
        assert [each["state"] for each in versions["versions"]] == ["READY", "READY"]
    with running(tmp_path) as served:
        assert answers(served, "m") == 1


def test_readiness_follows_the_folder_in_poll_mode(tmp_path: Path) -> None:
    with running(tmp_path, "--poll", "0.1") as served:
        url = f"http://{served.address}/v2/health/ready"
        assert call(url)[0] == 503
        put(tmp_path, "m", 1, scale(4))
        end = time.monotonic() + 30
        while call(url)[0] != 200:
            assert time.monotonic() < end, call(url)
        assert answers(served, "m") == 4
        assert call(f"http://{served.address}/v2/repository/models/m/unload", {})[0] == 200
        assert call(url) == (503, {"ready": False, "error": "nothing to serve: m: unloaded"})
