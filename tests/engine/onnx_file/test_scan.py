"""One walk visits every node and tensor of a file at any nesting, within limits."""

import tracemalloc
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from service.core.errors import LoadFailed
from service.core.graph_limits import MAX_ATTRIBUTES, MAX_DIMS, MAX_GRAPH_DEPTH, MAX_NODES
from service.engine.onnx_file import scan
from service.engine.onnx_file.protobuf import encode
from service.engine.onnx_file.scan import Node, Scan, check_head
from tests.engine import graphs
from tests.engine.graphs import constant, node, value
from tests.repositories import scale


class Notes(Scan):
    """All visited parts."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.tensors: list[tuple[str, int, list[int]]] = []
        self.entries: list[str] = []
        self.shapeless: list[str] = []
        self.classics: list[tuple[str, int]] = []

    def visit(self, node: Node) -> None:
        self.nodes.append(node)

    def keep(self, name: str, datatype: int, dims: list[int], message: memoryview) -> None:
        self.tensors.append((name, datatype, dims))

    def entry(self, name: str) -> None:
        self.entries.append(name)

    def unshaped(self, name: str) -> None:
        self.shapeless.append(name)

    def classical(self, node: Node, attributes: Sequence[memoryview]) -> None:
        self.classics.append((node.operator, len(attributes)))


def notes(model: onnx.ModelProto | bytes) -> Notes:
    found = Notes()
    data = model if isinstance(model, bytes) else model.SerializeToString()
    found.read(memoryview(data), "model.onnx")
    return found


def test_nodes_tensors_and_inputs_are_visited() -> None:
    model = graphs.model(
        [node("Softmax", "x", to="s", axis=-2), node("Add", "s", "w", to="y")],
        [value("x", ["n", 2]), value("z", None)],
        [value("y", None)],
        [constant("w", np.ones((3, 2), np.float32))],
    )
    found = notes(model)
    assert [(n.operator, n.inputs, n.outputs) for n in found.nodes] == [
        ("Softmax", ("x",), ("s",)),
        ("Add", ("s", "w"), ("y",)),
    ]
    assert found.nodes[0].integers == {"axis": 2**64 - 2}
    assert found.tensors == [("w", TensorProto.FLOAT, [3, 2])]
    assert found.entries == ["x", "z"]
    assert found.shapeless == ["z", "y"]
    assert found.ir_version == 10


def test_inner_nodes_are_visited_before_their_node() -> None:
    inner = node("Constant", to="c", value=constant("any", [1, 2], np.int64))
    body = helper.make_graph([inner], "body", [value("i", None)], [value("c", None)])
    branch = node("If", "x", to="y", then_branch=body, else_branch=body)
    found = notes(graphs.model([branch], [value("x", [])], [value("y", [2])]))
    assert [each.operator for each in found.nodes] == ["Constant", "Constant", "If"]
    assert found.tensors == [("c", TensorProto.INT64, [2])] * 2  # named by the node's output
    assert found.entries == ["i", "i", "x"]
    assert found.shapeless == []  # only the model's own inputs and outputs count


def test_functions_and_classical_models_are_visited() -> None:
    function = helper.make_function(
        "own", "twice", ["a"], ["b"], [node("Add", "a", "a", to="b")],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    scaler = helper.make_node(
        "Scaler", ["t"], ["y"], domain="ai.onnx.ml", offset=[1.0], scale=[2.0]
    )
    call = helper.make_node("twice", ["x"], ["t"], domain="own")
    model = graphs.model([call, scaler], [value("x", [1])], [value("y", [1])])
    model.functions.append(function)
    found = notes(model)
    assert sorted((each.domain, each.operator) for each in found.nodes) == [
        ("", "Add"),
        ("ai.onnx.ml", "Scaler"),
        ("own", "twice"),
    ]
    assert found.classics == [("Scaler", 2)]


def test_values_and_indices_of_a_sparse_tensor_are_visited() -> None:
    sparse = helper.make_sparse_tensor(
        constant("values", [1, 2], np.float32), constant("places", [0, 5], np.int64), [9]
    )
    model = graphs.model([node("Identity", "values", to="y")], [], [value("y", [9])])
    model.graph.sparse_initializer.append(sparse)
    assert [name for name, _, _ in notes(model).tensors] == ["values", "places"]


def nested(depth: int) -> bytes:
    """A node inside ``depth`` branches; parsers of protobuf accept fewer."""
    body = encode(1, encode(4, "Identity"))
    for _ in range(depth):
        body = encode(1, encode(4, "If") + encode(5, encode(1, "then_branch") + encode(6, body)))
    return encode(1, 8) + encode(7, body)


def with_attributes(count: int) -> onnx.ModelProto:
    each = node("Identity", "x", to="y")
    each.attribute.extend(helper.make_attribute(f"a{i}", i) for i in range(count))
    return graphs.model([each], [], [])


def of_rank(rank: int) -> onnx.ModelProto:
    return graphs.model([], [], [], [TensorProto(name="w", data_type=1, dims=[1] * rank)])


def with_tensors(count: int) -> bytes:
    """An attribute with several tensors, which parsers of protobuf would merge."""
    tensor = encode(5, TensorProto(dims=[1], data_type=1).SerializeToString())
    each = encode(1, encode(5, encode(1, "value") + tensor * count))
    return encode(1, 8) + encode(7, each)


BOUNDS = {
    "depth": (nested(MAX_GRAPH_DEPTH), nested(MAX_GRAPH_DEPTH + 1), "nested more than 32 deep"),
    "attributes": (
        with_attributes(MAX_ATTRIBUTES),
        with_attributes(MAX_ATTRIBUTES + 1),
        "a node has more than 1000 attributes",
    ),
    "dimensions": (of_rank(MAX_DIMS), of_rank(MAX_DIMS + 1), "tensor 'w': more than 64 dimensions"),
    "one tensor": (with_tensors(1), with_tensors(2), "more than one tensor or graph"),
}


@pytest.mark.parametrize(("good", "bad", "why"), BOUNDS.values(), ids=BOUNDS.keys())
def test_limits_are_exact(
    good: onnx.ModelProto | bytes, bad: onnx.ModelProto | bytes, why: str
) -> None:
    notes(good)
    with pytest.raises(LoadFailed, match=why):
        notes(bad)


@pytest.mark.parametrize("sparse", [False, True])
def test_dimensions_above_the_limit_use_no_memory(sparse: bool) -> None:
    """Each part of the file may add 64 dimensions, so a million parts would use gigabytes."""
    dims = encode(3 if sparse else 1, bytes([1]) * MAX_DIMS) * 10_000
    data = encode(7, encode(15 if sparse else 5, dims))
    tracemalloc.start()
    try:
        with pytest.raises(LoadFailed, match="more than 64 dimensions"):
            notes(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000


def test_the_numbers_of_nodes_and_parts_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    many = encode(7, encode(1, b"") * (MAX_NODES + 1))
    with pytest.raises(LoadFailed, match=f"model.onnx is refused: .*more than {MAX_NODES} nodes"):
        notes(many)
    monkeypatch.setattr(Notes, "_fields_left", 50)
    with pytest.raises(LoadFailed, match="the graph has more than"):
        notes(encode(7, encode(99, 1) * 50))


def test_a_long_walk_pauses_for_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(scan, "sleep", rests.append)
    notes(encode(7, encode(99, 1) * 10_500))
    assert len(rests) == 10 and set(rests) == {scan.PAUSE_SECONDS}


@pytest.mark.parametrize("graphs_in_file", [0, 2])
def test_a_model_must_have_exactly_one_graph(graphs_in_file: int) -> None:
    with pytest.raises(LoadFailed, match=f"it holds {graphs_in_file} graphs"):
        notes(encode(1, 8) + encode(7, encode(2, "g")) * graphs_in_file)


@given(st.data())
def test_any_change_of_a_file_is_read_or_refused(data: st.DataObject) -> None:
    model = bytearray(data.draw(st.sampled_from([scale(2), nested(3)])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(model) - 1))
        cut = data.draw(st.integers(0, 5))
        model[at : at + cut] = data.draw(st.binary(max_size=5))
        if not model:
            break
    with suppress(LoadFailed):
        check_head(bytes(model[:512]), "model.onnx")
        notes(bytes(model))


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(LoadFailed):
        notes(data)
    with suppress(LoadFailed):
        check_head(data, "model.onnx")
