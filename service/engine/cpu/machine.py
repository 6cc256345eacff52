"""Support of this machine for low-precision arithmetic: CPU features, limits, and a trial.

Features are read from /proc/cpuinfo. A virtual machine may hide some, and a library's guess may be
wrong, so ``measure_kernels`` times small products in each format and checks for saturation.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service.engine.cpu.arm_cores import core_names
from service.engine.cpu.kernels import saturates
from service.engine.host.resources import CGROUPS, PROC, cgroup_limit, cpu_quota, usable_cores

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
"""Version 1 of control groups writes a number near 2**63 for no limit."""

FEATURES = {
    "avx2": ("avx2", "INT8 products of 32 values at a time; without VNNI in two steps"),
    "avx_vnni": ("avx_vnni", "INT8 dot products in one step, 256 bits wide"),
    "avx512f": ("avx512f", "512-bit vectors"),
    "avx512_vnni": ("avx512_vnni", "INT8 dot products in one step, 512 bits wide"),
    "avx512_bf16": ("avx512_bf16", "BF16 dot products"),
    "avx512_fp16": ("avx512_fp16", "FP16 arithmetic"),
    "amx_int8": ("amx_int8", "INT8 matrix tiles"),
    "amx_bf16": ("amx_bf16", "BF16 matrix tiles"),
    "asimddp": ("dot product", "INT8 dot products in one step (Arm)"),
    "i8mm": ("i8mm", "INT8 matrix products (Arm)"),
    "asimdhp": ("FP16", "FP16 arithmetic (Arm)"),
    "bf16": ("BF16", "BF16 matrix products (Arm)"),
    "sve": ("SVE", "scalable vectors (Arm)"),
    "sve2": ("SVE2", "scalable vectors, second edition (Arm)"),
}
BYTE_PRODUCTS = ("avx2", "avx_vnni", "avx512_vnni", "amx_int8", "dot product", "i8mm")
ARM = ("asimddp", "i8mm", "asimdhp", "bf16", "sve", "sve2")


@dataclass(frozen=True, slots=True)
class Feature:
    """An instruction set extension."""

    name: str
    present: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine, and the parts of it that the process may use. Memory is in bytes, ``cpu_quota``
    in cores; a limit of None stands for no limit. ``saturates``: ONNX Runtime's default 8-bit
    kernels computed wrong sums in a trial."""

    cpu: str
    architecture: str
    cores: int
    cpu_quota: float | None
    memory_bytes: int
    memory_limit: int | None
    features: tuple[Feature, ...]
    saturates: bool

    def has(self, *names: str) -> bool:
        """Return whether the machine has any of these features."""
        return any(feature.present and feature.name in names for feature in self.features)

    @property
    def advice(self) -> tuple[str, ...]:
        """Advice for each number format, as sentences."""
        return (_int8(self), _int4(self), _half(self), *_limits(self))


def read_machine(
    cpuinfo: Path = CPUINFO,
    meminfo: Path = MEMINFO,
    proc: Path = PROC,
    cgroups: Path = CGROUPS,
    saturating: Callable[[], bool] = saturates,
) -> Machine:
    """Read the features that the kernel reports; others count as absent. Test for saturation."""
    processors = _blocks(cpuinfo)
    fields = processors[0]
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    arm = "Features" in fields or platform.machine() in ("aarch64", "arm64")
    known = [name for name in FEATURES if (name in ARM) == arm]
    return Machine(
        core_names(processors) or fields.get("model name") or platform.processor() or "unknown",
        platform.machine(),
        usable_cores(),
        cpu_quota(),
        _memory_bytes(meminfo),
        cgroup_limit(proc, cgroups),
        tuple(Feature(FEATURES[n][0], n in flags, FEATURES[n][1]) for n in known),
        saturating(),
    )


def _int8(machine: Machine) -> str:
    if machine.saturates:
        return (
            "INT8: ONNX Runtime's default kernels saturate U8S8 products here, as they do on x86 "
            "without VNNI; 8-bit weights use exact kernels, which are slower. Use 7-bit weights "
            "(reduce_range): expect 1.3 to 2 times FP32's speed."
        )
    if machine.has(*BYTE_PRODUCTS):
        return (
            "INT8: static QDQ with U8 activations and S8 weights per channel is the fast pairing; "
            "8-bit weights cannot saturate here."
        )
    return "INT8: no instruction for byte products was found; it saves memory, but little time."


def _int4(machine: Machine) -> str:
    if machine.has("avx512f", "avx2", "dot product"):
        return (
            "INT4 and INT8 weight-only: with accuracy_level 4 products run in INT8; faster if the "
            "weights do not fit the caches, and they always save memory."
        )
    return "INT4 weight-only: saves memory; weights are unpacked to floats for each product."


def _half(machine: Machine) -> str:
    if machine.has("FP16"):
        return "FP16: arithmetic in hardware; half the size and up to twice the speed."
    extra = " BF16 has instructions; few of ONNX Runtime's CPU kernels use them." if machine.has(
        "avx512_bf16", "amx_bf16", "BF16"
    ) else ""  # fmt: skip
    return f"FP16: half the file; products run in FP32 after a conversion, so no faster.{extra}"


def _limits(machine: Machine) -> list[str]:
    said = []
    if machine.cpu_quota is not None and machine.cpu_quota < machine.cores + 1:
        said.append(
            f"CPU quota: {machine.cpu_quota:g} cores; more threads than that are throttled."
        )
    if machine.memory_limit is not None:
        said.append(
            f"Memory limit: {machine.memory_limit / 1e9:.1f} GB; FP16 models may need twice their "
            "file's size while they load."
        )
    return said


def _blocks(path: Path) -> list[dict[str, str]]:
    """Return the fields of each block of a file; /proc/cpuinfo has one block per processor."""
    blocks = _text(path).split("\n\n")
    lines = ([line.partition(":") for line in block.splitlines()] for block in blocks)
    return [{key.strip(): value.strip() for key, _, value in block} for block in lines]


def _memory_bytes(path: Path) -> int:
    total = _blocks(path)[0].get("MemTotal", "").split()
    if total:
        return int(total[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
