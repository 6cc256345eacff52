"""The choice of eight-bit kernels: the rule for given facts, and the trial on this machine."""

import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from service.engine.cpu import kernels, saturation
from service.engine.cpu.kernels import Kernels, choose, kernels_for, saturates
from service.engine.onnx_file.snapshot import ModelFile
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import graphs

DEFAULT, EXACT = Kernels.DEFAULT, Kernels.EXACT


@pytest.mark.parametrize(
    ("asked", "saturating", "fit", "runs"),
    [
        (None, False, False, DEFAULT),
        (None, False, True, DEFAULT),
        (None, True, True, DEFAULT),
        (None, True, False, EXACT),
        (DEFAULT, True, False, DEFAULT),
        (EXACT, False, True, EXACT),
    ],
)
def test_the_rule_for_choosing_kernels(
    asked: Kernels | None, saturating: bool, fit: bool, runs: Kernels
) -> None:
    assert choose(asked, saturating, fit) is runs


def product(top: int = 127, kind: int = TensorProto.UINT8) -> onnx.ModelProto:
    """A product of bytes with weights that are all equal to ``top``."""
    return graphs.model(
        [graphs.node("MatMulInteger", "x", "w", to="y")],
        [graphs.value("x", ["batch", 64], kind)],
        [graphs.value("y", ["batch", 8], TensorProto.INT32)],
        [graphs.constant("w", np.full((64, 8), top, np.int8))],
    )


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    return graphs.save(model, folder) / "model.onnx"


def test_the_trial_agrees_with_a_separate_product(tmp_path: Path) -> None:
    runtime = ort.InferenceSession(saved(product(), tmp_path), providers=["CPUExecutionProvider"])
    (sums,) = runtime.run(None, {"x": np.full((4, 64), 255, np.uint8)})
    assert saturates() == bool((sums != 64 * 255 * 127).any())


@pytest.mark.parametrize("saturating", [True, False])
def test_weights_are_read_only_where_the_machine_saturates(
    saturating: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "saturates", lambda: saturating)
    read: list[ModelFile] = []
    monkeypatch.setattr(kernels, "weights_fit", lambda source: read.append(source) or True)
    source = ModelFile(saved(product(), tmp_path))
    assert kernels_for(source) is DEFAULT
    assert read == [source] * saturating
    assert (kernels_for(source, EXACT), kernels_for(source, DEFAULT)) == (EXACT, DEFAULT)
    assert read == [source] * saturating


@pytest.mark.parametrize("saturating", [True, False])
def test_requested_default_kernels_that_may_saturate_have_a_note(
    saturating: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "saturates", lambda: saturating)
    for top in (64, 127):
        path = saved(product(top), tmp_path)
        note = Session(path, SessionOptions(kernels=DEFAULT)).kernels_note
        assert ("may saturate on this machine" in note) is (saturating and top == 127)
        assert Session(path, SessionOptions()).kernels_note == ""


def test_only_eight_bit_weights_use_exact_kernels_on_a_saturating_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "saturates", lambda: True)
    for top, runs in ((127, EXACT), (-128, EXACT), (65, EXACT), (64, DEFAULT), (-64, DEFAULT)):
        session = Session(saved(product(top), tmp_path), SessionOptions())
        assert session.kernels is runs and session.kernels_note == ""
        assert session.copy(2).kernels is runs
        (sums,) = session.run((np.full((4, 64), 255, np.uint8),))
        assert (sums == 64 * 255 * top).all()


def test_weights_that_a_request_may_replace_have_a_note(
    tmp_path: Path,
) -> None:
    for top, noted in ((127, True), (64, False)):
        model = product(top)
        model.graph.input.append(graphs.value("w", [64, 8], TensorProto.INT8))
        session = Session(saved(model, tmp_path), SessionOptions(kernels=EXACT))
        assert ("sums of weight 'w' may saturate" in session.kernels_note) is noted
    assert Session(saved(product(), tmp_path), SessionOptions(kernels=EXACT)).kernels_note == ""


def test_a_machine_on_which_the_trial_fails_counts_as_saturating(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "model", lambda: b"nothing of ONNX")
    assert saturates.__wrapped__()


def test_concurrent_threads_get_the_same_result_of_the_trial() -> None:
    saturates.cache_clear()
    heard: list[bool] = []
    threads = [threading.Thread(target=lambda: heard.append(saturates())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [saturates()] * 8


def test_the_trial_is_a_valid_model_and_exact_kernels_pass_it(tmp_path: Path) -> None:
    (tmp_path / "trial.onnx").write_bytes(saturation.model())
    onnx.checker.check_model(onnx.load(tmp_path / "trial.onnx"), full_check=True)
    session = Session(tmp_path / "trial.onnx", SessionOptions(kernels=EXACT))
    assert session.kernels is EXACT
    names = [spec.name for spec in session.signature.inputs]
    for case in saturation.cases():
        feed = {name: np.full(shape, 255, np.uint8) for name, shape in case.inputs}
        answers = session.run(tuple(feed[name] for name in names))
        for answer, want in zip(answers, case.sums, strict=True):
            assert (answer == want).all()
