"""Inputs that a graph refuses are the client's 400, whichever operator refuses them; failures stay
500.

The texts are ONNX Runtime's and change between versions. Run this file with the oldest and the
newest version that pyproject.toml allows:

    python3 -m venv .venv-oldest
    .venv-oldest/bin/pip install -e '.[dev]' 'onnxruntime==1.20.0'
    .venv-oldest/bin/python -m pytest tests/engine/runtime/test_refusals.py
"""

from pathlib import Path

import numpy as np
import pytest

from service.core.errors import ExecutionFailed, InputRejected
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.refusals import is_refusal, reason
from service.engine.runtime.session import Session, new_control
from tests.engine import graphs
from tests.engine.refused_fused import FUSED
from tests.engine.refused_graphs import ROW, floats, graph, ints, position_table
from tests.engine.refused_shapes import SHAPES
from tests.engine.refused_values import VALUES

CASES = SHAPES | VALUES | FUSED
NODE = "Non-zero status code returned while running X node. Name:'n' Status Message: "


def session(case: str, folder: Path) -> Session:
    path = graphs.save(CASES[case].model, folder) / "model.onnx"
    return Session(path, SessionOptions())


@pytest.mark.parametrize("case", CASES)
def test_a_graph_that_refuses_inputs_rejects_them(case: str, tmp_path: Path) -> None:
    served = session(case, tmp_path)
    served.run(CASES[case].taken)
    with pytest.raises(InputRejected, match="the model refuses") as caught:
        served.run(CASES[case].refused)
    told = str(caught.value)
    assert "ONNXRuntimeError" not in told and "onnxruntime" not in told
    assert ".cc:" not in told and ".h:" not in told and "was false" not in told
    assert 'node_1"' in told or 'y_nchwc"' in told  # a fused convolution is named for its output
    assert any(f'"{spec.name}"' in told for spec in served.signature.inputs)
    served.run(CASES[case].taken)


def test_a_position_past_the_table_names_the_axis(tmp_path: Path) -> None:
    with pytest.raises(InputRejected) as caught:
        session("Add", tmp_path).run(CASES["Add"].refused)
    assert str(caught.value).endswith('8 by 12: input "ids" has 12 on axis 1, 8 would fit')


def test_an_index_past_the_table_names_its_place(tmp_path: Path) -> None:
    path = graphs.save(position_table(), tmp_path) / "model.onnx"
    given = np.array([[1, 2, 3], [4, 25, 6]], np.int64)
    with pytest.raises(InputRejected, match=r'input "ids" holds 25 at \[1, 1\]'):
        Session(path, SessionOptions()).run((given,))


def test_a_computed_index_names_the_axis_that_it_comes_from(tmp_path: Path) -> None:
    nodes = [
        graphs.node("Shape", "x", to="shape"),
        graphs.node("Gather", "shape", "one", to="length"),
        graphs.node("Range", "zero", "length", "one", to="places"),
        graphs.node("Abs", "places", to="same"),  # or the table is sliced, and no index fails
        graphs.node("Gather", "table", "same", to="y"),
    ]
    stored = [graphs.constant("zero", 0, "int64"), graphs.constant("one", 1, "int64")]
    stored.append(graphs.constant("table", graphs.weights(8, 2)))
    ends = [graphs.value("x", ["n", "m"])], [graphs.value("y", ["m", 2])]
    path = graphs.save(graphs.model(nodes, *ends, stored), tmp_path) / "model.onnx"
    with pytest.raises(InputRejected, match='input "x" has 12 on axis 1, at most 8 would fit'):
        Session(path, SessionOptions()).run((floats(1, 12),))


def test_a_text_that_is_not_a_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputRejected, match='Cast "node_1": a text is not a number: input "x"'):
        session("Cast", tmp_path).run(CASES["Cast"].refused)


def test_out_of_memory_is_not_the_clients_error(tmp_path: Path) -> None:
    model = graph("Expand", ROW | {"s": ("i", ["k"])})
    path = graphs.save(model, tmp_path) / "model.onnx"
    with pytest.raises(ExecutionFailed, match="allocate memory"):
        Session(path, SessionOptions()).run((floats(1, 4), ints(10**12, 4)))


def test_an_ended_run_is_not_the_clients_error(tmp_path: Path) -> None:
    control = new_control()
    control.terminate = True
    with pytest.raises(ExecutionFailed, match="terminate"):
        session("Mul", tmp_path).run(CASES["Mul"].taken, None, control)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (f"[ONNXRuntimeError] : 1 : FAIL : {NODE}anything", True),
        (f"[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : {NODE}anything", True),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x", True),
        (f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {NODE}a == b was false. text", True),
        (f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {NODE}Integer overflow", True),
        (f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {NODE}no text that is known", False),
        (f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {NODE}std::bad_alloc", False),
        (f"[ONNXRuntimeError] : 1 : FAIL : {NODE}Failed to allocate memory for buffer", False),
        (f"[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : {NODE}only 4 dimensions", False),
        (f"[ONNXRuntimeError] : 11 : EP_FAIL : {NODE}anything", False),
        ("[ONNXRuntimeError] : 1 : FAIL : Exiting due to terminate flag being set to true", False),
        (f"[ONNXRuntimeError] : 1 : FAIL : {NODE}No space left on device", False),
        (f"[ONNXRuntimeError] : 1 : FAIL : {NODE}std::bad_array_new_length", False),
        (f"[ONNXRuntimeError] : 1 : FAIL : {NODE}Resource temporarily unavailable", False),
        (f"[ONNXRuntimeError] : 1 : FAIL : {NODE}CUDA error 2", False),
        ("a TypeError of the binding", False),
    ],
)
def test_status_and_text_decide_whose_error_it_is(error: str, refused: bool) -> None:
    assert is_refusal(error) is refused


@pytest.mark.parametrize(
    ("text", "refused"), [("the tokenizer failed", False), ("index out of range", True)]
)
def test_errors_of_custom_operators_are_classified_by_their_text(text: str, refused: bool) -> None:
    error = f"[ONNXRuntimeError] : 1 : FAIL : {NODE}{text}"
    assert is_refusal(error, custom=True) is refused
    assert is_refusal(error)


def test_a_check_without_a_text_keeps_its_condition() -> None:
    error = f"[ONNXRuntimeError] : 1 : FAIL : {NODE}/src/onnxruntime/a.cc:1 f() a was false."
    assert reason(Exception(error)) == 'X "n": a was false.'
