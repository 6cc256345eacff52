"""A version may crash, hang or fill the memory of a separate process; the server continues."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.core.checks import Check
from service.core.errors import GateFailed, LoadFailed
from service.core.gate import growth_check
from service.engine.host.resources import resident_bytes
from service.engine.loading import rehearsal
from service.engine.loading.rehearsal import rehearse, rehearse_file
from service.engine.storage.folder import read_model
from tests.engine import graphs
from tests.engine.graphs import INT64, constant, node, value
from tests.opened import FORCE, SWAP, opened
from tests.repositories import put, scale

ENDS = [value("x", ["b"])], [value("y", ["b"])]
CRASH = "__attribute__((constructor)) static void crash(void) { *(volatile int *)0 = 1; }\n"


def expanding(rows: int) -> onnx.ModelProto:
    """A model with small inputs and outputs, and an intermediate tensor of ``rows`` floats."""
    nodes = [node("Expand", "x", "s", to="e"), node("ReduceSum", "e", to="y", keepdims=0)]
    ends = [value("x", ["b", 1])], [value("y", [])]
    return graphs.model(nodes, *ends, [constant("s", [rows, 1], np.int64)])


def looping(trips: int, operator: str = "Identity", *inputs: str) -> onnx.ModelProto:
    """A model that applies an operator to ``at`` in a loop of ``trips`` iterations."""
    body = helper.make_graph(
        [node("Identity", "go", to="on"), node(operator, *inputs, to="next", **_axis(operator))],
        "body",
        [value("i", [], INT64), value("go", [], TensorProto.BOOL), value("at", ["k"])],
        [value("on", [], TensorProto.BOOL), value("next", ["l"])],
    )
    loop = node("Loop", "n", "", "x", to="y", body=body)
    ends = [value("x", ["b"])], [value("y", ["c"])]
    return graphs.model([loop], *ends, [constant("n", trips, np.int64)])


def _axis(operator: str) -> dict[str, int]:
    return {"axis": 0} if operator == "Concat" else {}


def tried(
    model: onnx.ModelProto, folder: Path, room: int | None = None, toml: str = "", **more: Any
) -> Check | None:
    graphs.save(model, folder / "m")
    (folder / "m/model.toml").write_text(toml)
    found = read_model(folder / "m")
    assert found
    return rehearse(found.of_version(1), found.config, room, **more)


async def test_a_swap_needs_no_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example in a container with a read-only file system."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    with pytest.raises(FileNotFoundError):
        tempfile.gettempdir()
    for number in (1, 2):
        put(tmp_path, "m", number, scale(number))
    async with opened(tmp_path, rehearse=True) as it:
        await it.swap(1)
        assert await it.factor() == 1


def test_a_killed_process_is_not_reported_as_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills this process first when memory runs out."""
    start = rehearsal._start

    def killed(answers: IO[bytes]) -> "subprocess.Popen[bytes]":
        child = start(answers)
        child.kill()
        return child

    monkeypatch.setattr(rehearsal, "_start", killed)
    with pytest.raises(LoadFailed, match="was killed .SIGKILL., as the kernel does when memory"):
        tried(graphs.model([node("Identity", "x", to="y")], *ENDS), tmp_path)


def test_a_version_that_loads_and_runs_has_no_failed_check(tmp_path: Path) -> None:
    assert tried(graphs.linear(), tmp_path) is None
    toml = '[batching]\nmax_batch_size = 3\n[outputs.y]\nlabels = ["' + '","'.join("abcdefghij")
    assert tried(graphs.linear(), tmp_path, 10**8, toml + '"]\n') is None


@pytest.mark.parametrize(
    "model",
    [expanding(10**9), expanding(2**40), looping(40, "Concat", "at", "at")],
    ids=["at once", "far too much at once", "in steps"],
)
def test_a_version_that_needs_too_much_memory_is_stopped(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    room = 200 * 10**6
    check = tried(model, tmp_path, room)
    assert check is not None and not check.passed and check.name == "memory"
    assert check == growth_check(int(check.measured), room) and float(check.measured) > room


def test_a_version_that_never_ends_is_stopped(tmp_path: Path) -> None:
    model = looping(2**62, "Identity", "at")
    with pytest.raises(LoadFailed, match="not loaded and warm after 3 s in a separate process"):
        tried(model, tmp_path, seconds=3.0)


def test_a_rehearsal_is_stopped_on_request(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="the load was stopped"):
        tried(looping(2**62, "Identity", "at"), tmp_path, stop=lambda: True)


def test_errors_are_the_same_as_of_a_load(tmp_path: Path) -> None:
    model = graphs.linear()
    model.graph.node[0].op_type = "Nonsense"
    with pytest.raises(LoadFailed, match="ONNX Runtime rejects model.onnx: .*Nonsense"):
        tried(model, tmp_path)


@pytest.fixture
def crashing(tmp_path: Path) -> Path:
    """``m`` with a valid version 1, and a library that crashes the process when it is loaded."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    put(tmp_path, "m", 1, scale(1))
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(tmp_path / "m/crash.so")]
    subprocess.run(command, input=CRASH.encode(), check=True)
    return tmp_path


async def test_a_crash_of_a_new_version_does_not_affect_the_server(crashing: Path) -> None:
    async with opened(crashing, allow_custom_ops=True, rehearse=True) as it:
        put(crashing, "m", 2, scale(2))
        (crashing / "m/model.toml").write_text('[session]\ncustom_ops = "crash.so"\n')
        for options in (FORCE, FORCE):
            with pytest.raises(GateFailed, match=r"crashed the process .* \(SIGSEGV\)"):
                await it.repository.swap("m", 2, options)
        assert await it.factor() == 1
        assert it.states()[2].startswith("UNAVAILABLE load: it crashed the process in which")


async def test_a_version_that_grows_too_large_is_refused_with_its_size(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, looping(1, "Concat", "at", "at").SerializeToString())
    budget = resident_bytes() + 2**20 * 500
    async with opened(tmp_path, budget, rehearse=True) as it:
        put(tmp_path, "m", 2, looping(40, "Concat", "at", "at").SerializeToString())
        with pytest.raises(GateFailed, match="memory: bytes that loading .* required at most") as e:
            await it.repository.swap("m", 2, SWAP)
        assert [check.name for check in e.value.checks if not check.passed] == ["memory"]
        assert it.states()[1] == "READY"


async def test_a_version_loaded_before_is_not_rehearsed_again(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        put(tmp_path, "m", number, scale(number))
    async with opened(tmp_path, rehearse=True) as it:
        for number in (1, 2, 3):
            await it.swap(number)
        assert ["rehearsal" in it.phases(number) for number in (1, 2, 3)] == [True, True, False]
        await it.swap(1)
        assert it.phases(1).count("rehearsal") == 1


def test_a_file_that_onnx_runtime_rejects_does_not_fail_the_rehearsal(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    rehearse_file(tmp_path / "model.onnx")


def test_secrets_of_the_server_are_not_passed_to_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTSERVE_ADMIN_KEY", "secret")
    code = "import json, os\nprint(json.dumps({'reason': str('secret' in os.environ.values())}))\n"
    child(code, tmp_path, monkeypatch)
    with pytest.raises(LoadFailed, match="^False$"):
        rehearse_file(tmp_path)


def child(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the program of the child process."""
    (folder / "odd_child.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr("service.engine.loading.rehearsal.CHILD", "odd_child")


@pytest.mark.parametrize("how", ["os._exit(3)", "print('no JSON')"])
def test_an_invalid_answer_of_the_process_fails_the_load(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child(f"import os\n{how}\n", tmp_path, monkeypatch)
    with pytest.raises(LoadFailed, match="in which it was tried ended with code [03]"):
        rehearse_file(tmp_path)
