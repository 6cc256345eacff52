"""Files of earlier releases can be read: an upgrade requires no change of a models folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.cli import main
from service.config.model import load_model_config, load_pin
from tests.inprocess import ROOT, serve

EARLIER = ROOT / "tests/earlier"
RELEASES = sorted(each.name for each in EARLIER.iterdir() if each.is_dir())
each_release = pytest.mark.parametrize("release", RELEASES)
BODY = {"inputs": [{"name": "x", "shape": [1, 16], "datatype": "FP32", "data": [0.5] * 16}]}


@each_release
async def test_folders_of_earlier_releases_are_served(release: str, tmp_path: Path) -> None:
    """The pinned version serves, although a higher one exists; both pass the golden set, and the
    report of each is shown.
    """
    shutil.copytree(EARLIER / release / "tiny", tmp_path / "tiny")
    async with serve(tmp_path) as served:
        answer = (await served.client.post("/v2/models/tiny/infer", json=BODY)).json()
        assert answer["model_version"] == "1"
        index = (await served.client.post("/v2/repository/index")).json()
        assert {each["version"]: each["state"] for each in index} == {"1": "READY", "2": "READY"}
        found = (await served.client.get("/admin/models/tiny/versions")).json()
        for each in found["versions"]:
            report = json.loads((tmp_path / f"tiny/{each['version']}/report.json").read_text())
            assert each["report"].items() <= report.items()
            assert each["report"]["decision"] == report["decision"]
        swapped = await served.client.post("/admin/models/tiny/swap", json={"version": 2})
        assert swapped.status_code == 200, swapped.text
        golden = [each for each in swapped.json()["checks"] if each["name"] == "golden"]
        assert len(golden) >= 5, "one for each bound of model.toml"
        back = await served.client.post("/admin/models/tiny/rollback")
        assert back.status_code == 200, back.text
    pin = load_pin(tmp_path / "tiny/serving.toml")
    assert pin and pin.version == 1


@each_release
async def test_settings_of_earlier_releases_keep_their_meaning(release: str) -> None:
    config = load_model_config(EARLIER / release / "tiny/model.toml")
    assert config.batching.model_dump(exclude={"padding"}) == {
        "max_batch_size": 16, "preferred_batch_size": 4, "max_queue_delay": 0.001,
        "max_queue_size": 100, "timeout": 30.0, "combine": "auto", "tolerance": 1e-3,
    }  # fmt: skip
    instances = config.instances.model_dump()
    assert instances.items() >= {"count": 1, "kind": "sessions", "threads": 1}.items()
    assert config.outputs["y"].labels == ("north", "east", "south", "west")
    assert config.probe.dims == {"n": 2}
    assert config.versions.policy == "all" and config.versions.keep_previous
    assert config.gate.max_slowdown == 1e6
    assert set(config.gate.outputs["y"].model_dump().values()) == {10.0, 0.5}


def test_padding_of_earlier_releases_keeps_its_meaning() -> None:
    padding = load_model_config(EARLIER / "2026-11-24/padding.toml").batching.padding
    assert padding is not None and tuple(padding.buckets) == (16, 32, 64)
    assert dict(padding.values) == {"input_ids": 0, "attention_mask": 0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version = 3\n", {"version": 3, "previous": None}),
        ("version = 3\nprevious = 2\nforced = true\n", {"previous": 2, "forced": True}),
        ("version = 3\nsignature_change = true\n", {"signature_change": True}),
    ],
)
def test_pins_of_earlier_releases_are_read(
    text: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    """Fields that were added later have the value that was implied before."""
    file = tmp_path / "serving.toml"
    file.write_text(text)
    pin = load_pin(file)
    assert pin and expected.items() <= pin.model_dump().items()
    assert pin.v1_outputs == ()


@each_release
def test_versions_of_earlier_releases_are_inspected(
    release: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(EARLIER / release / "tiny/2/model.onnx")]) == 0
    assert "INT8" in capsys.readouterr().out
