"""Rows for trying a model fit its signature, golden or generated."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ExecutionFailed, LoadFailed
from service.core.tensors import DATATYPES, Arrays, Dim, Signature, TensorSpec
from service.engine.loading.samples import generated_rows, single_rows, trial_rows
from tests.engine.goldens import IDS, MASK, TOKENS, golden, ints, spec


def anything(inputs: Arrays, _: object) -> Arrays:
    return inputs


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (3,), (3, 2, 1)])
def test_expected_outputs_must_have_the_shapes_of_the_model(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    def run(inputs: Arrays, _: object) -> Arrays:
        rows = len(inputs[0])
        return np.zeros(rows, np.int64), np.zeros((rows, 2), np.float32)

    fits = {**IDS, **MASK, "outputs_score": np.zeros((3, 2), np.float32)}
    assert len(trial_rows(TOKENS, golden(tmp_path, **fits), {}, run)[0]) > 3
    fits["outputs_score"] = np.zeros(shape, np.float32)
    with pytest.raises(LoadFailed, match=r'output "score" has shape \[1, 2\] for its first row'):
        trial_rows(TOKENS, golden(tmp_path, **fits), {}, run)


def test_one_expected_answer_for_all_rows_is_not_split(tmp_path: Path) -> None:
    def run(_: Arrays, __: object) -> Arrays:
        return np.array(0, np.int64), np.zeros(5, np.float32)

    arrays = {**IDS, **MASK, "outputs_score": np.zeros(5, np.float32)}
    assert trial_rows(TOKENS, golden(tmp_path, **arrays), {}, run)[1] == ""


def test_single_rows_are_all_different() -> None:
    alike = np.array([[1, 2], [1, 2], [3, 4], [1, 2]])
    assert [row[0].tolist() for row in single_rows((alike, alike))] == [[[1, 2]], [[3, 4]]]
    assert len(single_rows((ints(100, 1),))) == 8
    texts = np.array(["a", "b", "a"], object)
    assert [row[0].tolist() for row in single_rows((texts,))] == [["a"], ["b"]]


def test_generated_rows_of_the_same_shape_are_added_to_few_golden_rows(tmp_path: Path) -> None:
    arrays = {"inputs_ids": ints(1, 7) + 1000, "inputs_mask": np.ones((1, 7), np.int64)}
    rows, note = trial_rows(TOKENS, golden(tmp_path, **arrays), {}, anything)
    assert note == "" and rows[0][0][0, 0] == 1000
    assert len(rows) == 8 and {row[0].shape for row in rows} == {(1, 7)}


def test_only_golden_rows_are_used_if_no_generated_rows_run(tmp_path: Path) -> None:
    def run(inputs: Arrays, _: object) -> Arrays:
        if inputs[0].max() < 1000:
            raise ExecutionFailed("no")
        return inputs

    arrays = {"inputs_ids": ints(1, 7) + 1000, "inputs_mask": np.ones((1, 7), np.int64)}
    rows, note = trial_rows(TOKENS, golden(tmp_path, **arrays), {}, run)
    assert (len(rows), note) == (1, "")


def test_the_golden_set_of_an_unbatchable_model_is_one_request(tmp_path: Path) -> None:
    fixed = Signature((spec("x", "INT64", 3, 4),), ())
    rows, _ = trial_rows(fixed, golden(tmp_path, inputs_x=ints(3, 4)), {}, anything)
    assert [row[0].shape for row in rows] == [(3, 4)]


def test_rows_are_generated_with_lengths_that_the_graph_accepts(tmp_path: Path) -> None:
    def run(inputs: Arrays, _: object) -> Arrays:
        if inputs[0].shape[1] % 7 or inputs[0].max() > 1:
            raise ExecutionFailed("no")
        return inputs

    rows, error = generated_rows(TOKENS, {}, run)
    assert error == "" and {row[0].shape for row in rows} == {(1, 224)}
    rows, _ = generated_rows(TOKENS, {"sequence": 21}, run)
    assert {array.shape for row in rows for array in row} == {(1, 21)}


def test_no_rows_are_generated_if_none_runs(tmp_path: Path) -> None:
    def run(_: Arrays, __: object) -> Arrays:
        raise ExecutionFailed("needs a real image")

    rows, note = trial_rows(TOKENS, tmp_path / "golden.npz", {}, run)
    assert rows == []
    assert "needs a real image" in note and "add golden.npz" in note


def test_every_generated_row_has_run() -> None:
    """A row that fails cannot be used: the next range of values is tried."""

    def run(inputs: Arrays, _: object) -> Arrays:
        if inputs[0].max() >= 62:
            raise ExecutionFailed("past the table's end")
        return inputs

    rows, error = generated_rows(TOKENS, {}, run)
    assert error == "" and all(row[0].max() < 62 for row in rows)


EDGES = Signature(
    (spec("nodes", "FP32", "num_nodes", 2), spec("edges", "INT64", "num_edges", 2)), ()
)


def indexed(inputs: Arrays, _: object) -> Arrays:
    """Accept only edges between existing nodes."""
    nodes, edges = inputs
    if edges.max(initial=0) >= len(nodes):
        raise ExecutionFailed("past the last node")
    return inputs


def test_generated_edges_connect_existing_nodes() -> None:
    rows, error = generated_rows(EDGES, {}, indexed)
    assert error == "" and {row[0].shape for row in rows} == {(1, 2)}
    rows, _ = generated_rows(EDGES, {"num_nodes": 3, "num_edges": 5}, indexed)
    assert {(len(row[0]), len(row[1])) for row in rows} == {(3, 5)}


def test_different_symbols_get_different_lengths_if_the_graph_needs_it() -> None:
    def run(inputs: Arrays, other: object) -> Arrays:
        if len(inputs[0]) <= len(inputs[1]):
            raise ExecutionFailed("more edges than nodes")
        return indexed(inputs, other)

    rows, error = generated_rows(EDGES, {}, run)
    assert error == "" and all(len(nodes) > len(edges) for nodes, edges in rows)


@pytest.mark.parametrize(("nodes", "edges"), [(3, 0), (3, 2), (2, 2)])
def test_a_golden_set_of_independent_inputs_is_one_request(
    nodes: int, edges: int, tmp_path: Path
) -> None:
    def run(inputs: Arrays, other: object) -> Arrays:
        if len(inputs[0]) < 2:
            raise ExecutionFailed("a lonely node")
        return indexed(inputs, other)

    arrays = {"inputs_nodes": np.ones((nodes, 2), np.float32), "inputs_edges": ints(edges, 2) % 2}
    rows, note = trial_rows(EDGES, golden(tmp_path, **arrays), {}, run)
    assert note == "" and [[len(a) for a in row] for row in rows] == [[nodes, edges]]


def test_rows_are_generated_for_an_input_without_a_shape() -> None:
    def run(inputs: Arrays, _: object) -> Arrays:
        if inputs[0].ndim != 2 or inputs[0].shape[1] != 13:
            raise ExecutionFailed("13 columns, please")
        return inputs

    unranked = TensorSpec("x", DATATYPES["FP32"], (), ranked=False)
    rows, error = generated_rows(Signature((unranked,), ()), {}, run)
    assert error == "" and rows[0][0].shape == (1, 13)


names = st.sampled_from(["a", "b", None])
dims = st.one_of(st.integers(1, 5), names)
specs = st.builds(
    lambda datatype, shape: (datatype, tuple(shape)),
    st.sampled_from(sorted(DATATYPES)),
    st.lists(dims, max_size=4),
)


@given(st.lists(specs, max_size=3))
def test_generated_rows_fit_any_signature(inputs: list[tuple[str, tuple[Dim, ...]]]) -> None:
    signature = Signature(
        tuple(spec(f"x{i}", datatype, *shape) for i, (datatype, shape) in enumerate(inputs)), ()
    )
    rows, _ = generated_rows(signature, {}, anything)
    for row in rows:
        lengths: dict[str, int] = {}
        for each, array in zip(signature.inputs, row, strict=True):
            assert array.dtype == each.datatype.dtype and array.ndim == len(each.shape)
            for dim, length in zip(each.shape, array.shape, strict=True):
                known = lengths.setdefault(dim, length) if isinstance(dim, str) else length
                assert length == (dim if isinstance(dim, int) else known)


def test_generated_rows_differ_and_are_reproducible() -> None:
    signature = Signature((spec("x", "FP32", "batch", 4),), ())
    first, second = (generated_rows(signature, {}, anything)[0] for _ in range(2))
    assert [row[0].tolist() for row in first] == [row[0].tolist() for row in second]
    sizes = [float(np.abs(row[0]).max()) for row in first]
    assert max(sizes) > 16 * min(sizes)  # so that a scale from the whole batch is noticed


@pytest.mark.parametrize("axis", [3, "n"])
def test_a_golden_set_that_fails_as_one_request_is_an_error(axis: Dim, tmp_path: Path) -> None:
    def run(_: Arrays, __: object) -> Arrays:
        raise ExecutionFailed("no such node")

    signature = Signature((spec("x", "INT64", axis), spec("y", "INT64", "m")), ())
    file = golden(tmp_path, inputs_x=ints(3), inputs_y=ints(4))
    with pytest.raises(LoadFailed, match=r"^golden.npz, as one request: no such node$"):
        trial_rows(signature, file, {}, run)
