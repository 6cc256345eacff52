"""ONNX Runtime's execution providers for CPUs: which are in the installed build, and their options.

The packages ``onnxruntime`` and ``onnxruntime-openvino`` install the same module, one in place of
the other. XNNPACK is part of builds of one's own, and of those for Arm and mobile devices.

Options: https://onnxruntime.ai/docs/execution-providers/OpenVINO-ExecutionProvider.html and
https://onnxruntime.ai/docs/execution-providers/Xnnpack-ExecutionProvider.html
"""

import json
from collections.abc import Mapping
from enum import StrEnum

import onnxruntime as ort

from service.core.errors import LoadFailed
from service.engine.host.resources import usable_cores

RUNTIME_VERSION: str = ort.__version__
"""The release of ONNX Runtime."""


class Provider(StrEnum):
    """An execution provider, by its name in model.toml. Operators that it lacks run on the CPU
    provider."""

    CPU = "cpu"
    OPENVINO = "openvino"
    XNNPACK = "xnnpack"

    @property
    def native(self) -> str:
        """ONNX Runtime's name."""
        return _NATIVE[self]

    @property
    def installed(self) -> bool:
        """Whether this build of ONNX Runtime has it."""
        return self.native in ort.get_available_providers()

    def options(self, threads: int) -> Mapping[str, str]:
        """The options for runs of so many threads."""
        if self is Provider.OPENVINO:
            return _openvino(threads)
        return {"intra_op_num_threads": str(threads)} if self is Provider.XNNPACK else {}


_NATIVE = {
    Provider.CPU: "CPUExecutionProvider",
    Provider.OPENVINO: "OpenVINOExecutionProvider",
    Provider.XNNPACK: "XnnpackExecutionProvider",
}


def installed() -> list[Provider]:
    """The providers of this build."""
    return [each for each in Provider if each.installed]


def beside_cpu() -> list[Provider]:
    """Return the providers of this build other than the CPU provider."""
    return [each for each in installed() if each is not Provider.CPU]


def check_installed(provider: Provider) -> None:
    """Check that this build of ONNX Runtime has a provider.

    Raises:
        LoadFailed: it has not.
    """
    if provider.installed:
        return
    has = ", ".join(f'"{each}"' for each in installed())
    advice = ""
    if provider is Provider.OPENVINO:
        advice = "; pip uninstall onnxruntime, then pip install onnxruntime-openvino"
    raise LoadFailed(
        f'model.toml: [session] provider = "{provider}": the installed ONNX Runtime'
        f" {RUNTIME_VERSION} has {has}{advice}"
    )


def _openvino(threads: int) -> Mapping[str, str]:
    # OpenVINO counts the threads of all runs side by side ("streams"), and lets runs beyond the
    # number of streams wait for each other.
    streams = max(1, usable_cores() // threads)
    settings = {
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(streams * threads),
        # Without it OpenVINO computes FP32 models in BF16 where the CPU has AMX.
        "INFERENCE_PRECISION_HINT": "f32",
        # Threads stay on any core: another server or worker may have bound its own to the same.
        "ENABLE_CPU_PINNING": "NO",
    }
    return {"device_type": "CPU", "load_config": json.dumps({"CPU": settings})}
