"""The speed that a report promises, on the measured machine and on others."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.engine.cpu.kernels import Kernels
from service.engine.cpu.profile import Profile
from service.engine.loading.promise import note_on, read_promise

VNNI = Profile("Fast CPU", "x86_64", ("avx2", "avx512_vnni"), False, Kernels.DEFAULT)
OLD = Profile("Old CPU", "x86_64", ("avx2",), True, Kernels.EXACT)


def report(**changed: Any) -> dict[str, Any]:
    return {
        "decision": {"winner": "static"},
        "candidates": [{"name": "static", "kernels": "default", "timing": {"latency_ratio": 1.85}}],
        "profile": VNNI.values(),
        "sha256": {"model": "abc"},
        **changed,
    }


def written(folder: Path, values: object) -> Path:
    (folder / "report.json").write_text(json.dumps(values))
    return folder


def noted(home: Path, sha256: str, here: Profile, name: str, golden: bool) -> str:
    promise = read_promise(home, sha256)
    return note_on(promise, here, name, golden) if promise else ""


def test_there_is_no_note_if_the_same_speed_is_expected(tmp_path: Path) -> None:
    home = written(tmp_path, report())
    assert noted(home, "abc", VNNI, "m", True) == ""
    other_name = Profile("Another CPU", *[getattr(VNNI, n) for n in (
        "architecture", "byte_products", "saturates", "kernels")])  # fmt: skip
    assert noted(home, "abc", other_name, "m", True) == ""


@pytest.mark.parametrize("golden", [True, False])
def test_a_different_machine_has_a_note_with_advice(tmp_path: Path, golden: bool) -> None:
    told = noted(written(tmp_path, report()), "abc", OLD, "my model", golden)
    assert "measured 1.85 x FP32's speed on Fast CPU (x86_64, avx512_vnni), default kernels" in told
    assert "here it is Old CPU (x86_64, avx2), exact kernels: the speed may differ" in told
    assert ("is checked with the kernels used here" in told) is golden
    assert "--name 'my model'" in told


def test_different_kernels_on_the_same_machine_have_a_note(tmp_path: Path) -> None:
    exact = Profile(VNNI.cpu, VNNI.architecture, VNNI.byte_products, False, Kernels.EXACT)
    assert "the speed may differ" in noted(written(tmp_path, report()), "abc", exact, "m", True)


def test_a_report_of_another_file_is_ignored(tmp_path: Path) -> None:
    assert noted(written(tmp_path, report()), "def", OLD, "m", True) == ""


def test_a_report_without_a_profile_uses_its_hardware_section(tmp_path: Path) -> None:
    values = report()
    del values["profile"]
    values["hardware"] = {
        "cpu": "Fast CPU", "architecture": "x86_64", "saturates": False,
        "features": [{"name": "avx512_vnni", "present": True}, {"name": "avx2", "present": True},
                     {"name": "amx_int8", "present": False}],
    }  # fmt: skip
    found = read_promise(written(tmp_path, values), "abc")
    assert found is not None
    assert found.profile == VNNI


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "7", '{"decision": {"winner": null}, "candidates": []}',
        "[" * 100_000, json.dumps(report(candidates=[{"name": "static"}])),
        json.dumps(report(profile={"cpu": 1})), json.dumps(report(profile=[1])), "\udcff",
    ],
)  # fmt: skip
def test_unreadable_and_foreign_reports_are_ignored(tmp_path: Path, content: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert read_promise(tmp_path, "abc") is None
    path.unlink()
    assert read_promise(tmp_path, "abc") is None
    path.mkdir()
    assert read_promise(tmp_path, "abc") is None
    assert read_promise(tmp_path / "none", "abc") is None


def test_a_profile_is_unchanged_by_json() -> None:
    for profile in (VNNI, OLD):
        assert Profile.read(json.loads(json.dumps(profile.values()))) == profile
