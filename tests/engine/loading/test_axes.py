"""If the file does not state it, trial runs show whether inputs share a batch."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from service.config.model import ModelConfig
from service.core.batching import BatchingMode
from service.core.errors import ExecutionFailed
from service.core.tensors import Arrays, Signature
from service.engine.loading.axes import MOST_GROUPS, Counts, counts_taken
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import load
from service.engine.repository.gate import answers
from service.engine.runtime.session import new_control
from tests.engine import axes_graphs, graphs
from tests.engine.goldens import golden, spec

UNKNOWN = {"unk__1": ["unk__1", 4], "unk__2": ["unk__2", 4], "none": [None, 4]}


def loaded(model: onnx.ModelProto, folder: Path, **config: Any) -> Loaded:
    return load(graphs.save(model, folder), ModelConfig.model_validate(config), 2)


def taken(*, width: int, takes: Any) -> Counts:
    """Return the result for a function that accepts only some numbers of rows."""

    def run(inputs: Arrays, _: object) -> Arrays:
        if not takes([len(array) for array in inputs]):
            raise ExecutionFailed("no")
        return inputs

    signature = Signature(tuple(spec(f"x{i}", "FP32", None, 2) for i in range(width)), ())
    rows = [tuple(np.full((1, 2), i, np.float32) for _ in range(width)) for i in range(3)]
    return counts_taken(run, signature, rows)


@pytest.mark.parametrize("width", [2, 3, 4, MOST_GROUPS + 3])
def test_accepted_row_counts_are_equal_any_or_broadcast(width: int) -> None:
    assert taken(width=width, takes=lambda n: len(set(n)) == 1) is Counts.EQUAL
    assert taken(width=width, takes=lambda n: len(set(n) - {1}) <= 1) is Counts.BROADCAST
    assert taken(width=width, takes=lambda n: True) is Counts.ANY
    half = width // 2
    two = taken(width=width, takes=lambda n: len(set(n[:half])) == len(set(n[half:])) == 1)
    assert two is Counts.ANY


def test_inputs_with_a_common_symbol_always_have_equal_rows() -> None:
    seen: list[list[int]] = []

    def run(inputs: Arrays, _: object) -> Arrays:
        seen.append([len(array) for array in inputs])
        raise ExecutionFailed("no")

    specs = [spec("a", "FP32", "n"), spec("b", "FP32", "m"), spec("c", "FP32", "n")]
    row = (np.ones(1, np.float32),) * 3
    assert counts_taken(run, Signature(tuple(specs), ()), [row]) is Counts.EQUAL
    assert all(a == c != b for a, b, c in seen)


def test_nothing_is_tried_without_single_rows() -> None:
    signature = Signature((spec("a", "FP32", "n"), spec("b", "FP32", "m")), ())
    whole = (np.ones(2, np.float32), np.ones(1, np.float32))

    def run(_: Arrays, __: object) -> Arrays:
        raise AssertionError

    assert counts_taken(run, signature, []) is Counts.UNTRIED
    assert counts_taken(run, signature, [whole]) is Counts.UNTRIED


@pytest.mark.parametrize(
    ("first", "second"),
    [("unk__1", "unk__2"), ("none", "none"), ("unk__1", "none"), ("unk__1", "unk__1")],
)
def test_axes_of_a_common_batch_are_detected(first: str, second: str, tmp_path: Path) -> None:
    found = loaded(axes_graphs.pair(UNKNOWN[first], UNKNOWN[second]), tmp_path)
    assert found.signature.batchable and found.plan.mode is BatchingMode.COMBINE


INDEPENDENT = {
    "embeddings": axes_graphs.clip(cross=False),
    "all with all": axes_graphs.clip(cross=True),
    "nodes and edges": axes_graphs.network(),
    "edges on the second axis": axes_graphs.network([2, "num_edges"]),
    "a user and items": axes_graphs.ranking(),
    "without names": axes_graphs.apart([None, 4], [None, 4]),
    "two groups": axes_graphs.groups(),
    "one fixed": axes_graphs.apart([2, 4], ["n", 4]),
}


@pytest.mark.parametrize("case", INDEPENDENT)
@pytest.mark.parametrize("combine", ["auto", "never"])
def test_axes_of_independent_inputs_are_not_a_batch(
    case: str, combine: str, tmp_path: Path
) -> None:
    found = loaded(INDEPENDENT[case], tmp_path, batching={"combine": combine})
    assert not found.signature.batchable and found.plan.mode is BatchingMode.REQUESTS
    assert found.plan.note and found.probe.seconds


def test_combine_always_does_not_batch_independent_inputs(
    tmp_path: Path,
) -> None:
    always = {"combine": "always"}
    ranking = loaded(axes_graphs.ranking(), tmp_path / "a", batching=always)
    assert ranking.signature.batchable and ranking.plan.mode is BatchingMode.COMBINE
    clip = loaded(axes_graphs.clip(cross=False), tmp_path / "b", batching=always)
    assert not clip.signature.batchable and clip.plan.mode is BatchingMode.REQUESTS


@pytest.mark.parametrize("names", [("unk__1", "unk__2"), (None, None)])
def test_inputs_that_broadcast_are_batched_if_they_have_equal_rows(
    names: tuple[str | None, str | None], tmp_path: Path
) -> None:
    """For example a network with a mask, whose converter gave each axis its own name."""
    found = loaded(axes_graphs.ranking(*names), tmp_path)
    assert found.plan.mode is BatchingMode.COMBINE
    assert found.signature.loose and not found.signature.batchable
    one, two = np.ones((1, 4), np.float32), np.ones((2, 4), np.float32)
    assert found.signature.common_rows((two, two)) == 2
    assert found.signature.common_rows((one, two)) == 0
    for inputs in ((one, two), (two, two)):
        assert answers(found, inputs, new_control())[0].tolist() == [4, 4]


def test_a_common_batch_is_detected_with_max_batch_size_1(tmp_path: Path) -> None:
    model = axes_graphs.pair(["a", 4], ["b", 4])
    found = loaded(model, tmp_path, batching={"max_batch_size": 1})
    assert found.signature.batchable and found.plan.preferred_rows == 1


def test_rows_that_depend_on_earlier_rows_are_not_a_batch(tmp_path: Path) -> None:
    total = graphs.model(
        [
            graphs.node("Concat", "a", "b", to="c", axis=1),
            graphs.node("CumSum", "c", "axis", to="y"),
        ],
        [graphs.value("a", ["n", 4]), graphs.value("b", ["m", 4])],
        [graphs.value("y", ["n", 8])],
        [graphs.constant("axis", 0, np.int64)],
    )
    found = loaded(total, tmp_path)
    assert not found.signature.batchable and "change" in found.plan.note


def test_a_golden_set_of_an_unbatchable_model_is_one_request(tmp_path: Path) -> None:
    arrays = {
        "inputs_nodes": np.arange(6, dtype=np.float32).reshape(3, 2),
        "inputs_edges": np.zeros((0, 2), np.int64),
    }
    golden(tmp_path, **arrays)
    found = loaded(axes_graphs.network(), tmp_path)
    assert found.probe.seconds.keys() == {1} and not found.signature.batchable


def test_a_golden_set_with_equally_many_nodes_and_edges_is_not_split(tmp_path: Path) -> None:
    arrays = {
        "inputs_nodes": np.arange(6, dtype=np.float32).reshape(3, 2),
        "inputs_edges": np.array([[0, 2], [1, 2], [2, 0]]),
    }
    golden(tmp_path, **arrays)
    found = loaded(axes_graphs.network(), tmp_path)
    assert not found.signature.batchable and not found.probe.failure


def test_unsupported_datatypes_are_refused_by_name(tmp_path: Path) -> None:
    kind = TensorProto.FLOAT8E4M3FN
    ends = [graphs.value(name, ["n"], kind) for name in ("x", "y")]
    model = graphs.model([graphs.node("Identity", "x", to="y")], ends[:1], ends[1:], opset=21)
    with pytest.raises(Exception, match='input "x" is a tensor.float8e4m3fn., which the protocol'):
        loaded(model, tmp_path)
