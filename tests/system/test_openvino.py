"""Serving and tuning with ONNX Runtime's build for OpenVINO, installed beside the environment.

pip needs a package index for it.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.parts import OPENVINO
from tests.patience import PATIENCE
from tests.system.process import ROOT, running

PACKAGE = "onnxruntime-openvino==1.24.1"
EXAMPLE = (ROOT / "models/digits/example.json").read_bytes()
THERE = sys.platform == "linux" and platform.machine() == "x86_64"
pytestmark = OPENVINO.unless(THERE and sys.version_info < (3, 14))


@pytest.fixture(scope="module")
def openvino(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The PYTHONPATH under which the build is the installed ONNX Runtime."""
    beside = tmp_path_factory.mktemp("openvino")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, beside, PACKAGE], check=True, timeout=PATIENCE)
    return os.pathsep.join((str(beside), str(ROOT)))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "models/digits", tmp_path / "models/digits")
    return tmp_path / "models"


def digits(address: str) -> tuple[str, str]:
    """The provider in the metadata, and the label of the example."""
    metadata = httpx.get(f"http://{address}/v2/models/digits", timeout=30).json()
    answer = httpx.post(f"http://{address}/v2/models/digits/infer", content=EXAMPLE, timeout=30)
    label = answer.json()["outputs"][0]["data"][0].split(":")[1]
    return metadata["parameters"]["execution_provider"], label


def test_a_model_runs_on_openvino_if_its_settings_say_so(
    openvino: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", openvino)
    with running(models) as served:
        assert digits(served.address) == ("cpu", "7")
    settings = models / "digits/model.toml"
    settings.write_text(settings.read_text() + '\n[session]\nprovider = "openvino"\n')
    with running(models) as served:
        assert digits(served.address) == ("openvino", "7")


def test_tuning_measures_openvino_and_its_choice_is_served(
    openvino: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", openvino)
    command = [sys.executable, "-m", "service", "tune", "digits", "--models", str(models)]
    tuned = subprocess.run(
        [*command, "--seconds", "1", "--json"],
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    told = json.loads(tuned.stdout)
    assert "openvino" in {each["kernels"] for each in told["measured"]}
    assert all(each["rows_per_second"] > 0 for each in told["measured"])
    chosen = "openvino" if 'provider = "openvino"' in told["settings"] else "cpu"
    with running(models) as served:
        assert digits(served.address) == (chosen, "7")
        assert "tuned: " in served.told
