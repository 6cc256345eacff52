"""Triton's core, as PyTriton's wheel brings it, with its Python backend and a dynamic batcher.

The wheel has a stub of the backend for each version of Python; a backend folder is laid out as
Triton expects it.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytriton
from shared import BATCH, INPUTS, PORT, SETTINGS, WAIT_MS

TYPES = {"f4": "TYPE_FP32", "i8": "TYPE_INT64"}


def main() -> None:
    core = Path(pytriton.__file__).parent / "tritonserver"
    packages = core.parent.parent
    scratch = Path(tempfile.mkdtemp(prefix="triton-"))
    version = scratch / "models/m/1"
    version.mkdir(parents=True)
    here = Path(__file__).parent
    # The backend's stub has a Python of its own, which looks for packages elsewhere.
    path = f"import sys\n\nsys.path.insert(0, {str(packages)!r})\n"
    (version / "model.py").write_text(path + (here / "triton_model.py").read_text())
    shutil.copy(here / "shared.py", version)
    inputs = ", ".join(
        f'{{name: "{name}" data_type: {TYPES[dtype]} dims: [{width}]}}'
        for name, (dtype, width) in INPUTS.items()
    )
    (scratch / "models/m/config.pbtxt").write_text(
        f'name: "m" backend: "python" max_batch_size: {BATCH} input: [{inputs}] '
        f'output: [{{name: "{SETTINGS["output"]}" data_type: TYPE_FP32 dims: '
        f"[{SETTINGS['width']}]}}] "
        f"dynamic_batching {{max_queue_delay_microseconds: {WAIT_MS * 1000}}} "
        "instance_group: [{kind: KIND_CPU count: 1}]"
    )
    backend = scratch / "backends/python"
    backend.mkdir(parents=True)
    for file in (core / "backends/python").iterdir():
        (backend / file.name).symlink_to(file)
    stubs = core / "python_backend_stubs" / "{}.{}".format(*sys.version_info)
    shutil.copy(stubs / "triton_python_backend_stub", backend)
    libraries = f"{packages}/nvidia_pytriton.libs:{sysconfig.get_config_var('LIBDIR')}"
    environment = os.environ | {"PYTHONPATH": str(packages), "LD_LIBRARY_PATH": libraries}
    command = [
        "tritonserver", f"--model-repository={scratch}/models",
        f"--backend-directory={scratch}/backends", "--http-address=127.0.0.1",
        f"--http-port={PORT}", "--allow-grpc=false", "--allow-metrics=false",
    ]  # fmt: skip
    os.execve(core / "bin/tritonserver", command, environment)


if __name__ == "__main__":
    main()
