"""The machine of the measurements: processor, system, versions."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks.compute import CORES

PACKAGES = (
    "onnxruntime",
    "numpy",
    "uvicorn",
    "uvloop",
    "httptools",
    "orjson",
    "fastapi",
    "pydantic",
)
QUANTIZED_ARITHMETIC = ("avx2", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def description() -> tuple[str, ...]:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    fields = {
        line.split(":")[0].strip(): line.split(":")[1].strip() for line in info if ":" in line
    }
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    known = [flag for flag in QUANTIZED_ARITHMETIC if flag in flags]
    busy = os.getloadavg()[0]
    processor = fields.get("model name", platform.machine())
    return (
        f"{processor}, {CORES} cores, {' '.join(known)}; load average before the run {busy:.2f}",
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {_wrk()}",
        ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


def _wrk() -> str:
    done = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    return " ".join(done.stdout.split()[:2])
