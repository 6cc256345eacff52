"""A real server with a version that was quantized on another kind of machine."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.engine.cpu.kernels import Kernels
from service.engine.cpu.machine import read_machine
from service.engine.cpu.profile import Profile
from tests.system.process import ROOT, Running, running

SPEED = 3.5
EXAMPLE = (ROOT / "models/digits/example.json").read_bytes()


def quantized_on(profile: dict[str, Any], models: Path) -> Path:
    """Copy the digits model, with a report of ``quantize`` from a machine with this profile."""
    shutil.copytree(ROOT / "models/digits", models / "digits")
    version = models / "digits/2"
    sha256 = hashlib.sha256((version / "model.onnx").read_bytes()).hexdigest()
    row = {"name": "static", "timing": {"latency_ratio": SPEED}}
    report = {
        "decision": {"winner": "static"},
        "candidates": [row],
        "profile": profile,
        "sha256": {"model": sha256},
    }
    (version / "report.json").write_text(json.dumps(report))
    return models


def speed_note(server: Running) -> str:
    metadata = httpx.get(f"http://{server.address}/v2/models/digits", timeout=30).json()
    note = str(metadata["parameters"]["speed_note"])
    answer = httpx.post(f"http://{server.address}/v2/models/digits/infer", content=EXAMPLE)
    assert answer.json()["outputs"][0]["data"][0].split(":")[1] == "7"
    assert (note in server.told) if note else ("FP32's speed on" not in server.told)
    return note


@pytest.mark.parametrize("foreign", [{"byte_products": []}, {"architecture": "riscv64"}])
def test_the_metadata_notes_that_the_speed_may_differ(
    foreign: dict[str, Any], tmp_path: Path
) -> None:
    here = Profile.of(read_machine(), Kernels.DEFAULT)
    if not here.byte_products and "byte_products" in foreign:
        foreign = {"byte_products": ["avx512_vnni"]}
    foreign = here.values() | {"cpu": "another CPU"} | foreign
    with running(quantized_on(foreign, tmp_path)) as server:
        note = speed_note(server)
    assert note.startswith(f"measured {SPEED:.2f} x FP32's speed on another CPU")
    assert here.cpu in note and "golden.npz is checked" in note
    assert "quantserve quantize FP32.onnx --data ROWS --name digits" in note


def test_no_note_on_the_same_kind_of_machine(tmp_path: Path) -> None:
    profile = Profile.of(read_machine(), Kernels.DEFAULT).values()
    with running(quantized_on(profile, tmp_path)) as server:
        assert speed_note(server) == ""
