"""Connections work with the oldest and the newest uvicorn that the project admits.

Each release is installed beside the environment, so pip needs a package index.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests import tiny_models
from tests.patience import PATIENCE
from tests.system.process import ROOT, running
from tests.system.wire import chunked, get, post

PATH = "/v2/models/same_fp32/infer"
GOOD = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
).encode()


def admitted() -> Requirement:
    """Return the version range of the project file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [Requirement(each) for each in project["dependencies"]]
    return next(each for each in found if each.name == "uvicorn")


def oldest() -> str:
    """Return the lower end of the range."""
    lower = [each.version for each in admitted().specifier if each.operator == ">="]
    return f"uvicorn=={lower[0]}"


@pytest.mark.parametrize("which", [oldest(), str(admitted())], ids=["oldest", "newest"])
def test_connections_work(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, models = tmp_path / "beside", tmp_path / "models"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, beside, which], check=True, timeout=PATIENCE)
    asked = "import uvicorn; print(uvicorn.__file__)"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(beside), str(ROOT))))
    python = [sys.executable, "-c", asked]
    used = subprocess.run(python, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert used.stdout.startswith(str(beside))
    tiny_models.identity(models, "FP32")
    with running(models) as served, served.line() as line:
        for request in (post(PATH, GOOD), chunked(PATH, GOOD), post(PATH, GOOD)):
            assert line.ask(request).json["outputs"][0]["data"] == [1, 2]
        answer = line.ask(get("/v2/health/ready"))
        assert answer.status == 200 and "date" in answer.headers
        assert line.ask(post(PATH, b"{")).status == 400
        compressed = line.ask(post(PATH, GOOD, Accept_Encoding="gzip", Expect="100-continue"))
        assert compressed.status == 200
        assert "quantserve_requests_total" in line.ask(get("/metrics")).body.decode()
        line.socket.sendall(post(PATH, GOOD) + get("/v2/health/live") + b"\0")
        assert [line.read().status for _ in range(3)] == [200, 200, 400]
        assert line.at_end()
    # `running` has asked it to stop, and it ended in order.
