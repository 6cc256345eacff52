"""A loaded model uses the bytes that were read, even if its files change."""

import hashlib
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from service.config.model import ModelConfig
from service.core.errors import LoadFailed
from service.engine.cpu.kernels import Kernels
from service.engine.loading.loader import load
from service.engine.onnx_file import snapshot
from service.engine.onnx_file.snapshot import Snapshot
from service.engine.onnx_file.summary import summarise
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import graphs, quantizers
from tests.engine.graphs import constant, node, value

X = np.arange(40, dtype=np.float32).reshape(4, 10) / 40


def everywhere() -> onnx.ModelProto:
    """Weights in the main graph, in a branch, and in nodes of both."""
    square = np.arange(100, dtype=np.float32).reshape(10, 10) / 100
    y = [value("y", ["batch", 10])]
    then = helper.make_graph(
        [node("MatMul", "x", "v", to="y")], "then", [], y, [constant("v", square)]
    )
    inner = [
        node("Constant", to="k", value=constant("", square[:1])),
        node("Add", "x", "k", to="y"),
    ]
    nodes = [
        node("ReduceSum", "x", to="total", keepdims=0),
        helper.make_node("Cast", ["total"], ["positive"], to=TensorProto.BOOL),
        node("If", "positive", to="b", then_branch=then, else_branch=_graph(inner, y)),
        node("Constant", to="c", value=constant("", square[1:2])),
        node("Add", "b", "c", to="s"),
        node("MatMul", "s", "w", to="z"),
    ]
    ends = [value("x", ["batch", 10])], [value("z", ["batch", 10])]
    return graphs.model(nodes, *ends, [constant("w", square)])


def table(rows: int, seed: int = 0) -> onnx.ModelProto:
    """Returns rows of its weights, which ONNX Runtime does not pack but reads in place."""
    return graphs.model(
        [node("Gather", "w", "x", to="y")],
        [value("x", ["batch"], graphs.INT64)],
        [value("y", ["batch", 10])],
        [constant("w", graphs.weights(rows, 10, seed=seed))],
    )


def _graph(nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto]) -> onnx.GraphProto:
    return helper.make_graph(nodes, "else", [], outputs)


def save_apart(model: onnx.ModelProto, folder: Path, inside: bool = True) -> Path:
    """Save version 1 with its weights in weights.bin, and with ``inside`` also weights of nodes."""
    path = folder / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        onnx.ModelProto.FromString(model.SerializeToString()),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=inside,
    )
    return path


def taken(path: Path) -> Snapshot:
    found = Snapshot(path)
    found.add(summarise(path).external)
    return found


def answers(session: Session) -> list[np.ndarray]:
    return [session.run((x,))[0] for x in (X, -X)]


def test_external_data_of_every_part_of_a_graph_is_read_from_memory(tmp_path: Path) -> None:
    whole = Session(graphs.save(everywhere(), tmp_path) / "model.onnx", SessionOptions())
    path = save_apart(everywhere(), tmp_path / "apart")
    with closing(taken(path)) as files:
        (path.parent / "weights.bin").unlink()
        path.unlink()
        session = Session(files, SessionOptions())
    np.testing.assert_array_equal(answers(session), answers(whole))


def test_without_in_memory_files_onnx_runtime_gets_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "FROM_MEMORY", "not_yet")
    whole = Session(graphs.save(everywhere(), tmp_path) / "model.onnx", SessionOptions())
    with closing(taken(save_apart(everywhere(), tmp_path / "apart"))) as files:
        session = Session(files, SessionOptions())
    np.testing.assert_array_equal(answers(session), answers(whole))


@pytest.mark.parametrize("change", ["cut short", "overwritten", "removed", "replaced"])
def test_answers_do_not_change_when_files_of_a_loaded_model_do(change: str, tmp_path: Path) -> None:
    path = save_apart(table(2000), tmp_path)
    found = load(path.parent, ModelConfig(), 2)
    (before,) = found.instances[0].run((np.arange(2000),), None)
    for file in (path, path.parent / "weights.bin"):
        if change == "cut short":
            os.truncate(file, 0)
        elif change == "overwritten":
            file.write_bytes(b"\xff" * file.stat().st_size)
        elif change == "removed":
            file.unlink()
        else:
            other = file.with_name("other")
            other.write_bytes(b"\xff" * file.stat().st_size)
            other.rename(file)
    np.testing.assert_array_equal(found.instances[0].run((np.arange(2000),), None)[0], before)


@pytest.mark.parametrize("error", [AttributeError, PermissionError])
def test_an_unnamed_file_on_disk_replaces_a_missing_memfd(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def memfd_create(name: str) -> int:
        raise error

    monkeypatch.setattr(os, "memfd_create", memfd_create)
    path = save_apart(everywhere(), tmp_path)
    with closing(taken(path)) as files:
        path.write_bytes(b"")
        assert answers(Session(files, SessionOptions()))


def test_the_digest_is_of_the_bytes_read(tmp_path: Path) -> None:
    path = save_apart(everywhere(), tmp_path)
    want = hashlib.sha256(path.read_bytes()).hexdigest()
    size = sum(each.stat().st_size for each in path.parent.iterdir())
    found = load(path.parent, ModelConfig(), 2)
    assert (found.sha256, found.file_bytes) == (want, size)


@pytest.mark.parametrize("file", ["model.onnx", "weights.bin"])
def test_a_session_is_copied_only_if_its_files_are_unchanged(file: str, tmp_path: Path) -> None:
    path = save_apart(everywhere(), tmp_path)
    with closing(taken(path)) as files:
        session = Session(files, SessionOptions())
    np.testing.assert_array_equal(answers(session.copy(2)), answers(session))
    changed = bytearray((path.parent / file).read_bytes())
    changed[-1] ^= 1
    (path.parent / file).write_bytes(changed)
    with pytest.raises(LoadFailed, match=r"model.onnx or its external data changed while it was"):
        session.copy()


def test_a_file_truncated_during_the_load_is_an_error(tmp_path: Path) -> None:
    path = save_apart(everywhere(), tmp_path)
    needed = summarise(path).external
    os.truncate(path.parent / "weights.bin", 10)
    with closing(Snapshot(path)) as files, pytest.raises(LoadFailed, match="cut short meanwhile"):
        files.add(needed)


def test_a_closed_snapshot_leaves_no_open_files(tmp_path: Path) -> None:
    path = save_apart(everywhere(), tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    session = [Session(taken(path), SessionOptions())]
    session.clear()
    load(path.parent, ModelConfig(), 2)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    maps = Path("/proc/self/maps").read_text()
    assert "weights.bin" not in maps and "model.onnx" not in maps


def test_a_loaded_model_does_not_map_its_files(tmp_path: Path) -> None:
    path = save_apart(table(2000), tmp_path)
    found = load(path.parent, ModelConfig(), 2)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert found.instances


def test_exact_kernels_read_the_same_bytes(tmp_path: Path) -> None:
    model = quantizers.dynamic(graphs.linear(width=10), tmp_path)
    path = save_apart(model, tmp_path)
    with closing(taken(path)) as files:
        os.truncate(path.parent / "weights.bin", 1)
        session = Session(files, SessionOptions(kernels=Kernels.EXACT))
    assert session.kernels is Kernels.EXACT
    whole = ort.InferenceSession(model.SerializeToString())
    np.testing.assert_allclose(session.run((X,))[0], whole.run(None, {"x": X})[0], atol=0.05)
