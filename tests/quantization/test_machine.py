"""What the kernel tells of a CPU, and what follows for each format."""

from pathlib import Path

import pytest

from service.quantization.kernels import hardware_text, measure_kernels
from service.quantization.machine import Machine, read_machine

MEMORY = "MemTotal:       16000000 kB\n"


def machine(tmp_path: Path, cpuinfo: str, limit: str = "max") -> Machine:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    (tmp_path / "meminfo").write_text(MEMORY)
    (tmp_path / "memory.max").write_text(limit)
    return read_machine(tmp_path / "cpuinfo", tmp_path / "meminfo", tmp_path)


def test_without_vnni_saturation_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    found = machine(tmp_path, "model name : Zen 3\nflags : fpu avx2 fma\n\nprocessor : 1\n")
    assert (found.cpu, found.vnni) == ("Zen 3", False)
    assert "Use 7-bit weights" in found.advice[0]


def test_with_vnni_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    found = machine(tmp_path, "model name : Xeon\nflags : avx2 avx512f avx512_vnni amx_int8\n")
    assert found.vnni
    assert found.has("amx_int8")
    assert "saturate" not in found.advice[0]


def test_arm_speaks_of_its_own_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    found = machine(tmp_path, "Features : fp asimd asimdhp asimddp i8mm sve\nCPU part : 0xd40\n")
    assert {f.name for f in found.features if f.present} == {"dot product", "i8mm", "FP16", "SVE"}
    assert found.vnni


def test_a_memory_limit_is_told(tmp_path: Path) -> None:
    found = machine(tmp_path, "", "2000000000")
    assert (found.memory_bytes, found.memory_limit) == (16_384_000_000, 2_000_000_000)
    assert any("2.0 GB" in line for line in found.advice)


def test_kernels_are_measured_here() -> None:
    found = measure_kernels()
    assert found["speed"]["FP32 MatMul"] == 1.0
    assert all(ratio > 0 for ratio in found["speed"].values())


def test_the_text_holds_every_part() -> None:
    from service.quantization.kernels import hardware

    text = hardware_text(hardware(timed=False))
    assert "usable" in text
    assert "kernels were not timed" in text
