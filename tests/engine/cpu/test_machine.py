"""The CPU as the operating system describes it, and the advice for each format."""

import platform
from pathlib import Path

import pytest

from service.engine.cpu.machine import Machine, read_machine
from service.quantization.evaluate.kernel_speeds import hardware_text, measure_kernels
from tests.parts import X86

MEMORY = "MemTotal:       16000000 kB\n"


def machine(tmp_path: Path, cpuinfo: str, limit: str = "max", saturates: bool = False) -> Machine:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    (tmp_path / "meminfo").write_text(MEMORY)
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "cgroup").write_text("0::/\n")
    read = tmp_path / "cpuinfo", tmp_path / "meminfo", tmp_path, tmp_path
    return read_machine(*read, lambda: saturates)


AVX2 = "model name : Zen 3\nflags : fpu avx2 fma\n\nprocessor : 1\n"
AMX = "model name : Xeon\nflags : avx2 avx512f avx512_vnni amx_int8\n"


@pytest.mark.parametrize("saturates", [True, False])
@pytest.mark.parametrize("cpuinfo", [AVX2, AMX])
def test_advice_follows_the_saturation_trial_and_not_the_features(
    cpuinfo: str, saturates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    found = machine(tmp_path, cpuinfo, saturates=saturates)
    assert found.saturates is saturates
    assert ("Use 7-bit weights" in found.advice[0]) is saturates
    assert ("cannot saturate here" in found.advice[0]) is not saturates
    assert found.has("amx_int8") is (cpuinfo is AMX)


def test_arm_features_are_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    found = machine(tmp_path, "Features : fp asimd asimdhp asimddp i8mm sve\nCPU part : 0xd40\n")
    assert {f.name for f in found.features if f.present} == {"dot product", "i8mm", "FP16", "SVE"}
    assert "fast pairing" in found.advice[0]


def cores(*kinds: tuple[str, str]) -> str:
    lines = (f"CPU implementer\t: {maker}\nCPU part\t: {part}\n" for maker, part in kinds)
    blocks = (f"processor\t: {n}\nFeatures\t: fp asimd\n{text}" for n, text in enumerate(lines))
    return "\n".join(blocks)


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        ([("0x41", "0xd0c")] * 4, "Arm Neoverse N1"),
        ([("0x41", "0xd40")], "Arm Neoverse V1"),
        ([("0x41", "0xd49")], "Arm Neoverse N2"),
        ([("0x41", "0xd4f")], "Arm Neoverse V2"),
        ([("0x41", "0xd08")], "Arm Cortex-A72"),
        ([("0x41", "0xd05"), ("0x41", "0xd0b")], "Arm Cortex-A55, Arm Cortex-A76"),
        ([("0x61", "0x022"), ("0x61", "0x023")], "Apple M1 Icestorm, Apple M1 Firestorm"),
        ([("0xc0", "0xac3")], "Ampere AmpereOne"),
        ([("0x41", "0xfff")], "Arm part 0xfff"),
        ([("0x7f", "0x001")], "implementer 0x7f part 0x001"),
    ],
)
def test_arm_cores_are_named(
    kinds: list[tuple[str, str]], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert machine(tmp_path, cores(*kinds) + "\n\nModel\t: A board\n").cpu == name


@pytest.mark.parametrize(
    ("maker", "name"), [("0x41", "Arm Cortex-A72"), ("0x00", "ARMv8 Processor rev 0 (v8l)")]
)
def test_the_core_name_has_priority_over_the_architecture(
    maker: str, name: str, tmp_path: Path
) -> None:
    general = "model name\t: ARMv8 Processor rev 0 (v8l)\n"
    assert machine(tmp_path, general + cores((maker, "0xd08"))).cpu == name


@pytest.mark.parametrize("cpuinfo", ["", "CPU part : soon\n", "no colon"])
def test_a_cpu_without_a_name_in_cpuinfo_is_unknown(
    cpuinfo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    assert machine(tmp_path, cpuinfo).cpu == "unknown"


def test_a_memory_limit_is_reported(tmp_path: Path) -> None:
    found = machine(tmp_path, "", "2000000000")
    assert (found.memory_bytes, found.memory_limit) == (16_384_000_000, 2_000_000_000)
    assert any("2.0 GB" in line for line in found.advice)


def test_kernels_are_measured_on_this_machine() -> None:
    found = measure_kernels()
    speed = found["speed"]
    assert speed["FP32 MatMul"] == 1.0
    assert all(ratio > 0 for ratio in speed.values())
    # Both kernel sets where they differ: never for floats, and never for 7-bit weights.
    other = "default" if found["u8s8_saturates"] else "exact"
    for name in (name for name in speed if name.endswith(" kernels")):
        assert name.endswith(f", {other} kernels") and name.rpartition(", ")[0] in speed
        assert "7-bit" not in name and "FP" not in name


def test_both_sets_of_kernels_are_measured_on_x86() -> None:
    X86.need(platform.machine() in ("x86_64", "AMD64"))
    assert sum(name.endswith(" kernels") for name in measure_kernels()["speed"]) >= 2


def test_the_text_contains_every_part() -> None:
    from service.quantization.evaluate.kernel_speeds import hardware

    text = hardware_text(hardware(timed=False))
    assert "usable" in text
    assert "kernels were not timed" in text
