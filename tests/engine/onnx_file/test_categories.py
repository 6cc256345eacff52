"""Trial rows of a classical model contain the categories that its encoders list."""

from pathlib import Path

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper

from service.config.model import ModelConfig
from service.core.tensors import Categories
from service.engine.loading.loader import load
from service.engine.onnx_file.categories import _columns
from service.engine.onnx_file.summary import summarise_model
from tests.engine import graphs
from tests.engine.classifiers import ML, ml
from tests.engine.graphs import constant, node, value

CITIES, KINDS, SIZES = ["Oslo", "Paris", "Rome"], [3, -70, 900], ["S", "L"]


def encoder(source: str, to: str, values: list[str] | list[int], zeros: int = 0) -> NodeProto:
    """An encoder that refuses unknown categories by default."""
    name = "cats_strings" if isinstance(values[0], str) else "cats_int64s"
    return ml("OneHotEncoder", [source], [to], zeros=zeros, **{name: values})


def model(nodes: list[NodeProto], **inputs: tuple[int, list[int | None]]) -> onnx.ModelProto:
    given = [value(name, shape, kind) for name, (kind, shape) in inputs.items()]
    index = [constant("first", [0], np.int64), constant("second", [1], np.int64)]
    graph = helper.make_graph(nodes, "graph", given, [value("y", None)], index)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


STRING, FLOAT, INT64 = TensorProto.STRING, TensorProto.FLOAT, TensorProto.INT64
ONE = [None, 1]


def found(proto: onnx.ModelProto) -> dict[str, Categories]:
    return dict(summarise_model(memoryview(proto.SerializeToString()), "m").categories)


def test_a_column_has_the_categories_of_its_encoder(tmp_path: Path) -> None:
    nodes = [
        encoder("city", "a", CITIES),
        helper.make_node("Cast", ["kind"], ["whole"], to=INT64),
        encoder("whole", "b", KINDS),
        node("Concat", "a", "b", to="joined", axis=2),
        node("Identity", "joined", to="y"),
    ]
    proto = model(nodes, city=(STRING, ONE), kind=(FLOAT, ONE))
    assert found(proto) == {"city": (tuple(CITIES),), "kind": (tuple(KINDS),)}
    loaded = load(graphs.save(proto, tmp_path), ModelConfig(), 1)
    assert not loaded.plan.note
    assert {row[0].item() for row in loaded.rows} == set(CITIES)
    assert {row[1].item() for row in loaded.rows} == set(map(float, KINDS))


def test_columns_of_one_input_have_their_own_categories(tmp_path: Path) -> None:
    nodes = [
        ml("ArrayFeatureExtractor", ["x", "second"], ["b"]),
        encoder("b", "b1", CITIES),
        ml("ArrayFeatureExtractor", ["x", "first"], ["a"]),
        encoder("a", "a1", SIZES),
        node("Concat", "a1", "b1", to="y", axis=2),
    ]
    proto = model(nodes, x=(STRING, [None, 2]))
    assert found(proto) == {"x": (tuple(SIZES), tuple(CITIES))}
    loaded = load(graphs.save(proto, tmp_path), ModelConfig(), 1)
    assert loaded.rows[1][0].tolist() == [["L", "Paris"]]


def test_columns_are_followed_through_concat() -> None:
    nodes = [
        node("Concat", "city", "size", to="x", axis=1),
        node("Gather", "x", "second", to="b", axis=1),
        encoder("b", "y", SIZES),
    ]
    assert found(model(nodes, city=(STRING, ONE), size=(STRING, ONE))) == {"size": (tuple(SIZES),)}


def test_computed_or_unknown_columns_have_no_categories() -> None:
    nodes = [
        node("Gather", "x", "unknown", to="b", axis=1),
        encoder("b", "c", CITIES),
        node("Abs", "z", to="d"),
        encoder("d", "y", KINDS),
    ]
    proto = model(nodes, x=(STRING, [None, 2]), z=(INT64, ONE))
    assert "z" not in found(proto)


def test_only_a_few_short_categories_of_a_long_list_are_kept() -> None:
    many = [f"{i}" * (1 + 1000 * (i % 2)) for i in range(100_000)]
    (columns,) = found(model([encoder("x", "y", many)], x=(STRING, ONE))).values()
    assert columns == (tuple(f"{i}" for i in range(0, 16, 2)),)


@given(st.dictionaries(st.none() | st.integers(-1, 2**62), st.just((1,))))
def test_the_number_of_columns_is_limited(columns: dict[int | None, tuple[int]]) -> None:
    assert len(_columns(columns)) <= 4096
