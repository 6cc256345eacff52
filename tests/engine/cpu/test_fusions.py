"""Fusions that are disabled by measurement; the answers do not change."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.engine.cpu import fusions
from service.engine.cpu.fusions import SKIP_LAYER_NORM, costs_more, slow_fusions
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session

WIDTH = 64


@pytest.fixture
def normalising(tmp_path: Path) -> Path:
    """A model that adds half of the rows [n, t, 64] to the rows and normalises the sums."""
    nodes = [
        helper.make_node("Mul", ["x", "half"], ["h"]),
        helper.make_node("Add", ["x", "h"], ["s"]),
        helper.make_node("LayerNormalization", ["s", "scale", "bias"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    constants = {
        "half": np.asarray(np.float32(0.5)),
        "scale": rng.random(WIDTH, np.float32),
        "bias": rng.random(WIDTH, np.float32),
    }
    shape = ["n", "t", WIDTH]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path = tmp_path / "m.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("fused", "apart", "left_out"), [(101e-6, 15e-6, True), (20e-6, 22e-6, False), (0, 0, False)]
)
def test_a_fusion_slower_than_its_parts_is_disabled(
    fused: float, apart: float, left_out: bool, normalising: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert costs_more(fused, apart) is left_out
    monkeypatch.setattr(fusions, "_seconds", lambda: (fused, apart))
    written = normalising.with_name("optimised.onnx")
    session = Session(normalising, SessionOptions(1, written))
    operators = [node.op_type for node in onnx.load(written).graph.node]
    assert ("LayerNormalization" in operators) is left_out
    x = np.random.default_rng(1).random((2, 3, WIDTH), np.float32)
    values = {t.name: numpy_helper.to_array(t) for t in onnx.load(normalising).graph.initializer}
    s = 1.5 * x
    want = (s - s.mean(-1, keepdims=True)) / np.sqrt(s.var(-1, keepdims=True) + 1e-5)
    want = want * values["scale"] + values["bias"]
    np.testing.assert_allclose(session.run((x,))[0], want, rtol=1e-4, atol=1e-5)


def test_graphs_without_normalisation_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusions, "_seconds", lambda: (1.0, 0.1))
    assert slow_fusions(frozenset({"MatMul", "Add", "ReduceMean"})) == ()
    assert slow_fusions(frozenset({"LayerNormalization"})) == (SKIP_LAYER_NORM,)
    assert slow_fusions(frozenset({"ReduceMean", "Sqrt", "Pow"})) == (SKIP_LAYER_NORM,)


def test_the_trial_measures_real_runs() -> None:
    fused, apart = fusions._seconds()
    assert fused > 0
    assert apart > 0
