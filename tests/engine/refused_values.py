"""Operators of ONNX that refuse a value: an index, an axis, a length, a text."""

import numpy as np
from onnx import TensorProto, helper

from tests.engine.graphs import FLOAT, INT64, constant, model, value, weights
from tests.engine.refused_graphs import ROW, Refused, floats, graph, ids, ints

VALUES: dict[str, Refused] = {
    "Gather": Refused(
        graph("Gather", {"i": ("i", ["n"])}, {"t": weights(8, 2)}, "t,i"), (ids(3),), (ints(9),)
    ),
    "Gather negative": Refused(
        graph("Gather", {"i": ("i", ["n"])}, {"t": weights(8, 2)}, "t,i"), (ids(3),), (ints(-9),)
    ),
    "GatherElements": Refused(
        graph("GatherElements", {"i": ("i", ["n", 2])}, {"t": weights(8, 2)}, "t,i", axis=0),
        (ids(1, 2),),
        (ints([1, 8]),),
    ),
    "GatherElements longer": Refused(
        graph("GatherElements", {"i": ("i", ["n", "m"])}, {"t": weights(8, 2)}, "t,i", axis=0),
        (ids(1, 2),),
        (ids(1, 5),),
    ),
    "GatherND": Refused(
        graph("GatherND", {"i": ("i", ["n", 1])}, {"t": weights(8, 2)}, "t,i"),
        (ids(1, 1),),
        (ints([8]),),
    ),
    "Slice": Refused(
        graph(
            "Slice",
            ROW | {"steps": ("i", ["k"])},
            {"s": ints(0), "e": ints(2), "a": ints(1)},
            "x,s,e,a,steps",
        ),
        (floats(2, 3), ints(1)),
        (floats(2, 3), ints(0)),
    ),
    "Slice axes": Refused(
        graph("Slice", ROW | {"axes": ("i", ["k"])}, {"s": ints(0), "e": ints(2)}, "x,s,e,axes"),
        (floats(2, 3), ints(1)),
        (floats(2, 3), ints(7)),
    ),
    "Reshape by value": Refused(
        graph("Reshape", ROW | {"s": ("i", ["k"])}),
        (floats(2, 4), ints(4, 2)),
        (floats(2, 4), ints(5, 2)),
    ),
    "Reshape negative": Refused(
        graph("Reshape", ROW | {"s": ("i", ["k"])}),
        (floats(2, 4), ints(4, 2)),
        (floats(2, 4), ints(-3, 2)),
    ),
    "OneHot": Refused(
        graph("OneHot", {"i": ("i", ["n"]), "depth": ("i", [1])}, {"v": weights(2)}),
        (ids(2), ints(4)),
        (ids(2), ints(-4)),
    ),
    "ScatterND": Refused(
        graph(
            "ScatterND", {"i": ("i", ["n", 1]), "u": ("f", ["n", 2])}, {"t": weights(8, 2)}, "t,i,u"
        ),
        (ids(1, 1), floats(1, 2)),
        (ints([8]), floats(1, 2)),
    ),
    "ScatterElements": Refused(
        graph(
            "ScatterElements",
            {"i": ("i", ["n", 2]), "u": ("f", ["n", 2])},
            {"t": weights(8, 2)},
            "t,i,u",
            axis=0,
        ),
        (ids(1, 2), floats(1, 2)),
        (ints([1, 8]), floats(1, 2)),
    ),
    "Tile": Refused(
        graph("Tile", ROW | {"r": ("i", ["k"])}),
        (floats(2, 4), ints(1, 2)),
        (floats(2, 4), ints(1, 2, 3)),
    ),
    "Tile negative": Refused(
        graph("Tile", ROW | {"r": ("i", ["k"])}),
        (floats(2, 4), ints(1, 2)),
        (floats(2, 4), ints(1, -2)),
    ),
    "Range": Refused(
        graph(
            "Range", {"d": ("i", [])}, {"a": np.int64(0), "b": np.int64(5)}, "a,b,d", out=(INT64, 1)
        ),
        (np.array(1, np.int64),),
        (np.array(0, np.int64),),
    ),
    "Pad": Refused(
        graph("Pad", ROW | {"p": ("i", ["k"])}),
        (floats(2, 4), ints(0, 0, 0, 1)),
        (floats(2, 4), ints(0, 0, 1)),
    ),
    "Resize": Refused(
        graph("Resize", {"x": ("f", [1, 1, "h", "w"]), "s": ("f", ["k"])}, {}, "x,,s"),
        (floats(1, 1, 2, 2), np.array([1, 1, 2, 2], np.float32)),
        (floats(1, 1, 2, 2), np.array([1, 1, -2, 2], np.float32)),
    ),
    "Resize short": Refused(
        graph("Resize", {"x": ("f", [1, 1, "h", "w"]), "s": ("f", ["k"])}, {}, "x,,s"),
        (floats(1, 1, 2, 2), np.array([1, 1, 2, 2], np.float32)),
        (floats(1, 1, 2, 2), np.array([2, 2], np.float32)),
    ),
    "Unsqueeze": Refused(
        graph("Unsqueeze", ROW | {"a": ("i", ["k"])}),
        (floats(2, 1), ints(1)),
        (floats(2, 1), ints(9)),
    ),
    "TopK by value": Refused(
        model(
            [helper.make_node("TopK", ["x", "k"], ["y", "i"], name="node_1")],
            [value("x", ["n", "m"]), value("k", [1], INT64)],
            [value("y", ["n", "k"]), value("i", ["n", "k"], INT64)],
        ),
        (floats(2, 6), ints(2)),
        (floats(2, 6), ints(-1)),
    ),
    "ConstantOfShape": Refused(
        graph("ConstantOfShape", {"x": ("i", ["k"])}), (ints(2, 3),), (ints(2, -3),)
    ),
    "CumSum": Refused(
        graph("CumSum", ROW | {"axis": ("i", [])}),
        (floats(2, 4), np.array(1, np.int64)),
        (floats(2, 4), np.array(5, np.int64)),
    ),
    "ReduceSum": Refused(
        graph("ReduceSum", ROW | {"axes": ("i", ["k"])}),
        (floats(2, 4), ints(1)),
        (floats(2, 4), ints(5)),
    ),
    "Cast": Refused(
        graph("Cast", {"x": ("s", ["n"])}, to=FLOAT),
        (np.array(["1.5"], object),),
        (np.array(["one"], object),),
    ),
    "Trilu": Refused(
        graph("Trilu", {"x": ("f", None), "k": ("i", [])}),
        (floats(2, 4), np.array(1, np.int64)),
        (floats(4), np.array(1, np.int64)),
    ),
    "If": Refused(
        model(
            [
                helper.make_node(
                    "If",
                    ["c"],
                    ["y"],
                    name="choice",
                    then_branch=helper.make_graph(
                        [helper.make_node("Gather", ["t", "i"], ["g"], name="node_1")],
                        "b",
                        [],
                        [value("g", ["n", 2])],
                    ),
                    else_branch=helper.make_graph(
                        [helper.make_node("Gather", ["t", "zero"], ["h"])],
                        "e",
                        [],
                        [value("h", ["n", 2])],
                    ),
                )
            ],
            [value("c", [1], TensorProto.BOOL), value("i", ["n"], INT64)],
            [value("y", ["n", 2])],
            [constant("t", weights(8, 2)), constant("zero", ints(0))],
        ),
        (np.array([True]), ints(1)),
        (np.array([True]), ints(9)),
    ),
}
