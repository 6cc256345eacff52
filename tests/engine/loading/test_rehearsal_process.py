"""The child process of a rehearsal runs one task and returns its result."""

import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from service.config.model import ModelConfig
from service.engine.loading.rehearsal import CHILD, Task
from service.engine.loading.rehearsal_process import RESERVED, _refused
from service.engine.storage.folder import read_model
from tests.engine import graphs
from tests.engine.loading.test_rehearsal import expanding
from tests.repositories import scale

ROOT = Path(__file__).parents[3]
MIB = 2**20


def child(task: object, code: str = "") -> "subprocess.CompletedProcess[bytes]":
    """Run the child process with a task; ``code`` is run before it."""
    run = f"{code}\nimport runpy; runpy.run_module({CHILD!r}, run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", run], input=pickle.dumps(task), capture_output=True, cwd=ROOT,
        timeout=120, check=False,
    )  # fmt: skip


def answered(task: object, code: str = "") -> dict[str, Any]:
    done = child(task, code)
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


def task(model: onnx.ModelProto, folder: Path, room: int | None = None, **config: Any) -> Task:
    graphs.save(model, folder / "m")
    found = read_model(folder / "m")
    assert found is not None
    return Task(found.of_version(1), ModelConfig.model_validate(config), room, False)


def test_a_model_that_runs_has_no_reason(tmp_path: Path) -> None:
    assert answered(task(graphs.linear(), tmp_path)) == {"reason": "", "grown": None}
    assert answered(task(graphs.linear(), tmp_path, 500 * MIB)) == {"reason": "", "grown": None}


def test_the_reason_of_a_failed_load_is_returned(tmp_path: Path) -> None:
    found = task(graphs.linear(), tmp_path)
    found.files.model.write_bytes(b"GGUF")
    answer = answered(found)
    assert answer["reason"].startswith("model.onnx is not an ONNX model: it is GGUF")


def test_the_size_of_a_model_that_needs_too_much_memory_is_returned(tmp_path: Path) -> None:
    room = 100 * MIB
    found = answered(task(expanding(10**9), tmp_path, room))
    assert found["reason"] == "" and found["grown"] > room


def test_a_file_is_loaded_without_reporting_its_errors(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(scale(2))
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    for name in ("model.onnx", "junk.onnx"):
        assert answered(tmp_path / name) == {"reason": "", "grown": None}


def test_output_of_libraries_is_not_part_of_the_answer(tmp_path: Path) -> None:
    noise = (
        "import os, service.engine.loading.loader as loader\n"
        "load = loader.open_version\n"
        "def noisy(*args):\n    os.write(1, b'hello')\n    return load(*args)\n"
        "loader.open_version = noisy"
    )
    done = child(task(graphs.linear(), tmp_path), noise)
    assert json.loads(done.stdout) == {"reason": "", "grown": None}
    assert b"hello" in done.stderr


def test_the_process_is_killed_with_the_server_and_has_low_priority(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(scale(2))
    shown = (
        "import atexit, ctypes, os, sys\n"
        "end = os._exit\n"
        "def show(code):\n"
        "    found = ctypes.c_int()\n"
        "    ctypes.CDLL(None).prctl(2, ctypes.byref(found))\n"
        "    print(found.value, os.nice(0), file=sys.stderr, flush=True)\n"
        "    end(code)\n"
        "os._exit = show"
    )
    told = child(tmp_path / "model.onnx", shown).stderr.split()
    assert int(told[0]) == signal.SIGKILL and int(told[1]) >= 10


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("Failed to allocate memory for requested buffer of size 4000", 4000),
        ("std::bad_alloc", RESERVED),
        ("MemoryError: ", RESERVED),
        ("Unable to allocate 2.0 GiB for an array", RESERVED),
        ("the model refuses its input", 0),
        ("", 0),
    ],
)
def test_the_size_of_a_failed_allocation_is_read_from_the_error(text: str, size: int) -> None:
    assert _refused(text) == size
