"""One small graph for each operator that refuses some inputs, with inputs that it takes and inputs
that it refuses. All inputs fit the declared signature.
"""

from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.engine.graphs import FLOAT, INT64, Shape, constant, model, value, weights

KINDS = {"f": FLOAT, "i": INT64, "s": TensorProto.STRING, "b": TensorProto.BOOL}
Array = np.ndarray


class Refused(NamedTuple):
    """A graph of one operator, rows that it takes and rows that it refuses."""

    model: onnx.ModelProto
    taken: tuple[Array, ...]
    refused: tuple[Array, ...]


def floats(*shape: int) -> Array:
    """Numbers in an array of this shape."""
    return np.ones(shape, np.float32)


def ints(*values: object) -> Array:
    """An INT64 vector."""
    return np.array(values, np.int64)


def graph(
    operator: str,
    inputs: dict[str, tuple[str, Shape]],
    constants: dict[str, Array] | None = None,
    order: str = "",
    domain: str = "",
    opset: int = 17,
    out: tuple[int, int | None] = (FLOAT, None),
    outputs: int = 1,
    **attributes: object,
) -> onnx.ModelProto:
    """``operator`` on inputs of these kinds and shapes and on constants, in ``order``."""
    names = order.split(",") if order else [*inputs, *(constants or {})]
    made = ["y", *(f"y{i}" for i in range(1, outputs))]
    node = helper.make_node(operator, names, made, name="node_1", domain=domain, **attributes)
    given = [value(name, shape, KINDS[kind]) for name, (kind, shape) in inputs.items()]
    rank = out[1]
    shape = None if rank is None else [f"y_{i}" for i in range(rank)]
    results = [value(name, shape, out[0]) for name in made]
    stored = [constant(name, array) for name, array in (constants or {}).items()]
    return model([node], given, results, stored, opset)


def position_table() -> onnx.ModelProto:
    """Embedded tokens plus a slice of a table of eight positions, as in BERT."""
    nodes = [
        helper.make_node("Shape", ["ids"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["length"], name="length"),
        helper.make_node("Unsqueeze", ["length", "zeros"], ["end"]),
        helper.make_node("Slice", ["positions", "zeros", "end", "ones"], ["places"], name="cut"),
        helper.make_node("Gather", ["table", "ids"], ["tokens"], name="tokens"),
        helper.make_node("Add", ["tokens", "places"], ["y"], name="node_1"),
    ]
    stored = [
        constant("one", 1, "int64"),
        constant("zeros", [0], "int64"),
        constant("ones", [1], "int64"),
        constant("positions", weights(1, 8, 4)),
        constant("table", weights(20, 4)),
    ]
    ids = value("ids", ["batch", "sequence"], INT64)
    return model(nodes, [ids], [value("y", ["batch", "sequence", 4])], stored)


def ids(*shape: int) -> Array:
    """Tokens of the vocabulary."""
    return np.ones(shape, np.int64)


def of_learning(
    operator: str, inputs: dict[str, tuple[str, Shape]], **attributes: object
) -> onnx.ModelProto:
    """An operator of classical machine learning on its inputs."""
    made = graph(operator, inputs, domain="ai.onnx.ml", **attributes)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    return made


ROW = {"x": ("f", ["n", "m"])}
MS = "com.microsoft"
CASES: dict[str, Refused] = {
    "Add": Refused(position_table(), (ids(1, 8),), (ids(1, 12),)),
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
    "Reshape": Refused(
        graph("Reshape", ROW, {"s": ints(0, -1, 8)}), (floats(2, 16),), (floats(2, 12),)
    ),
    "Reshape fixed": Refused(
        graph("Reshape", ROW, {"s": ints(-1, 4)}), (floats(2, 4),), (floats(1, 7),)
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
    "Expand": Refused(graph("Expand", ROW, {"s": ints(2, 3)}), (floats(2, 3),), (floats(2, 4),)),
    "Mul": Refused(graph("Mul", ROW, {"w": weights(1, 4)}), (floats(2, 4),), (floats(2, 5),)),
    "Div": Refused(graph("Div", ROW, {"w": weights(1, 4)}), (floats(2, 4),), (floats(2, 5),)),
    "Where": Refused(
        graph("Where", {"c": ("b", ["n"]), "x": ("f", ["n"])}, {"z": weights(4)}),
        (np.ones(4, bool), floats(4)),
        (np.ones(5, bool), floats(5)),
    ),
    "Concat": Refused(
        graph("Concat", ROW, {"w": weights(2, 4)}, axis=0), (floats(1, 4),), (floats(1, 5),)
    ),
    "MatMul": Refused(graph("MatMul", ROW, {"w": weights(4, 3)}), (floats(2, 4),), (floats(2, 5),)),
    "Gemm": Refused(graph("Gemm", ROW, {"w": weights(4, 3)}), (floats(2, 4),), (floats(2, 5),)),
    "MatMulInteger": Refused(
        model(
            [
                helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
                helper.make_node("MatMulInteger", ["q", "w", "z"], ["y"], name="node_1"),
            ],
            [value("x", ["n", "m"])],
            [value("y", ["n", 3], TensorProto.INT32)],
            [constant("w", np.ones((4, 3)), "int8")],
        ),
        (floats(2, 4),),
        (floats(2, 5),),
    ),
    "Einsum": Refused(
        graph("Einsum", ROW, {"w": weights(4, 3)}, equation="ij,jk->ik"),
        (floats(2, 4),),
        (floats(2, 5),),
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
    "Pad negative": Refused(
        graph("Pad", ROW, {"p": ints(0, -3, 0, 0)}), (floats(2, 8),), (floats(2, 2),)
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
    "Split": Refused(
        graph("Split", ROW, {"s": ints(2, 2)}, axis=1, outputs=2), (floats(2, 4),), (floats(2, 5),)
    ),
    "Split even": Refused(
        graph("Split", ROW, axis=1, outputs=2, opset=13), (floats(2, 4),), (floats(2, 5),)
    ),
    "Squeeze": Refused(graph("Squeeze", ROW, {"a": ints(1)}), (floats(2, 1),), (floats(2, 3),)),
    "Unsqueeze": Refused(
        graph("Unsqueeze", ROW | {"a": ("i", ["k"])}),
        (floats(2, 1), ints(1)),
        (floats(2, 1), ints(9)),
    ),
    "TopK": Refused(
        model(
            [helper.make_node("TopK", ["x", "k"], ["y", "i"], name="node_1")],
            [value("x", ["n", "m"])],
            [value("y", ["n", 5]), value("i", ["n", 5], INT64)],
            [constant("k", ints(5))],
        ),
        (floats(2, 6),),
        (floats(2, 3),),
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
    "EmbedLayerNormalization": Refused(
        model(
            [
                helper.make_node(
                    "EmbedLayerNormalization",
                    ["ids", "", "words", "places", "", "gamma", "beta"],
                    ["y", "m"],
                    name="node_1",
                    domain=MS,
                )
            ],
            [value("ids", ["n", "s"], TensorProto.INT32)],
            [value("y", ["n", "s", 4])],
            [
                constant("words", weights(20, 4)),
                constant("places", weights(8, 4)),
                constant("gamma", weights(4)),
                constant("beta", weights(4)),
            ],
        ),
        (np.ones((1, 8), np.int32),),
        (np.ones((1, 12), np.int32),),
    ),
    "EmbedLayerNormalization token": Refused(
        model(
            [
                helper.make_node(
                    "EmbedLayerNormalization",
                    ["ids", "", "words", "places", "", "gamma", "beta"],
                    ["y", "m"],
                    name="node_1",
                    domain=MS,
                )
            ],
            [value("ids", ["n", "s"], TensorProto.INT32)],
            [value("y", ["n", "s", 4])],
            [
                constant("words", weights(20, 4)),
                constant("places", weights(8, 4)),
                constant("gamma", weights(4)),
                constant("beta", weights(4)),
            ],
        ),
        (np.ones((1, 8), np.int32),),
        (np.full((1, 8), 20, np.int32),),
    ),
    "SkipLayerNormalization": Refused(
        graph(
            "SkipLayerNormalization",
            {"x": ("f", ["n", "s", "h"]), "z": ("f", ["n", "s", "g"])},
            {"gamma": weights(4)},
            domain=MS,
        ),
        (floats(1, 2, 4), floats(1, 2, 4)),
        (floats(1, 2, 4), floats(1, 2, 5)),
    ),
    "LayerNormalization": Refused(
        graph("LayerNormalization", ROW, {"w": weights(4)}), (floats(2, 4),), (floats(2, 5),)
    ),
    "Attention": Refused(
        model(
            [
                helper.make_node(
                    "Attention",
                    ["x", "w", "b", "mask"],
                    ["y"],
                    name="node_1",
                    domain=MS,
                    num_heads=2,
                )
            ],
            [value("x", ["n", "s", "h"]), value("mask", ["n", "t"], TensorProto.INT32)],
            [value("y", ["n", "s", 4])],
            [constant("w", weights(4, 12)), constant("b", weights(12))],
        ),
        (floats(1, 3, 4), np.ones((1, 3), np.int32)),
        (floats(1, 3, 4), np.ones((1, 5), np.int32)),
    ),
    "MultiHeadAttention": Refused(
        graph(
            "MultiHeadAttention",
            {"q": ("f", ["n", "s", 4]), "k": ("f", ["n", "t", 4]), "v": ("f", ["n", "u", 4])},
            domain=MS,
            num_heads=2,
        ),
        (floats(1, 3, 4), floats(1, 3, 4), floats(1, 3, 4)),
        (floats(1, 3, 4), floats(1, 3, 4), floats(1, 5, 4)),
    ),
    "RotaryEmbedding": Refused(
        graph(
            "RotaryEmbedding",
            {"x": ("f", ["n", "s", 8]), "p": ("i", ["n", "s"])},
            {"cos": weights(6, 4), "sin": weights(6, 4)},
            domain=MS,
            num_heads=1,
        ),
        (floats(1, 3, 8), ints([0, 1, 2])),
        (floats(1, 7, 8), ints([0, 1, 2, 3, 4, 5, 6])),
    ),
    "GroupQueryAttention": Refused(
        model(
            [
                helper.make_node(
                    "GroupQueryAttention",
                    ["q", "k", "v", "pk", "pv", "lens", "total"],
                    ["y", "nk", "nv"],
                    name="node_1",
                    domain=MS,
                    num_heads=2,
                    kv_num_heads=1,
                )
            ],
            [
                value("q", ["n", "s", 32]),
                value("k", ["n", "s", 16]),
                value("v", ["n", "t", 16]),
                value("pk", ["n", 1, "p", 16]),
                value("pv", ["n", 1, "p", 16]),
                value("lens", ["n"], TensorProto.INT32),
                value("total", [], TensorProto.INT32),
            ],
            [
                value("y", ["n", "s", 32]),
                value("nk", ["n", 1, "o", 16]),
                value("nv", ["n", 1, "o", 16]),
            ],
        ),
        (
            floats(1, 3, 32),
            floats(1, 3, 16),
            floats(1, 3, 16),
            floats(1, 1, 0, 16),
            floats(1, 1, 0, 16),
            np.array([2], np.int32),
            np.array(3, np.int32),
        ),
        (
            floats(1, 3, 32),
            floats(1, 3, 16),
            floats(1, 4, 16),
            floats(1, 1, 2, 16),
            floats(1, 1, 2, 16),
            np.array([2], np.int32),
            np.array(3, np.int32),
        ),
    ),
    "MatMulNBits": Refused(
        model(
            [
                helper.make_node(
                    "MatMulNBits",
                    ["x", "w", "scales"],
                    ["y"],
                    name="node_1",
                    domain=MS,
                    K=32,
                    N=2,
                    bits=4,
                    block_size=32,
                )
            ],
            [value("x", ["n", "m"])],
            [value("y", ["n", 2])],
            [constant("w", np.ones((2, 1, 16)), "uint8"), constant("scales", weights(2))],
        ),
        (floats(2, 32),),
        (floats(2, 31),),
    ),
    "StringNormalizer": Refused(
        graph("StringNormalizer", {"x": ("s", None)}, out=(TensorProto.STRING, None), locale="C"),
        (np.array([["a", "b"]], object),),
        (np.array([["a"], ["b"]], object),),
    ),
    "ConstantOfShape": Refused(
        graph("ConstantOfShape", {"x": ("i", ["k"])}), (ints(2, 3),), (ints(2, -3),)
    ),
    "NonMaxSuppression": Refused(
        graph(
            "NonMaxSuppression",
            {"boxes": ("f", [1, "n", 4]), "scores": ("f", [1, 1, "m"])},
            {"most": ints(3), "iou": np.array([0.5], np.float32)},
            out=(INT64, None),
        ),
        (floats(1, 3, 4), floats(1, 1, 3)),
        (floats(1, 3, 4), floats(1, 1, 5)),
    ),
    "Conv": Refused(
        graph("Conv", {"x": ("f", ["n", "c", "h", "w"])}, {"k": weights(2, 3, 3, 3)}),
        (floats(1, 3, 8, 8),),
        (floats(1, 4, 8, 8),),
    ),
    "Conv smaller than its kernel": Refused(
        graph("Conv", {"x": ("f", ["n", 3, "h", "w"])}, {"k": weights(2, 3, 3, 3)}),
        (floats(1, 3, 8, 8),),
        (floats(1, 3, 2, 2),),
    ),
    "BatchNormalization": Refused(
        graph(
            "BatchNormalization",
            {"x": ("f", ["n", "c", "h"])},
            {"a": weights(3), "b": weights(3), "c": weights(3), "d": weights(3) ** 2},
        ),
        (floats(1, 3, 8),),
        (floats(1, 4, 8),),
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
    "PRelu": Refused(graph("PRelu", ROW, {"s": weights(4)}), (floats(2, 4),), (floats(2, 5),)),
    "DepthToSpace": Refused(
        graph("DepthToSpace", {"x": ("f", [1, "c", "h", "w"])}, blocksize=2),
        (floats(1, 4, 2, 2),),
        (floats(1, 5, 2, 2),),
    ),
    "SpaceToDepth": Refused(
        graph("SpaceToDepth", {"x": ("f", [1, 1, "h", "w"])}, blocksize=2),
        (floats(1, 1, 2, 2),),
        (floats(1, 1, 3, 2),),
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
    "QLinearMatMul": Refused(
        model(
            [
                helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                helper.make_node(
                    "QLinearMatMul", ["q", "s", "z", "w", "s", "z", "s", "z"], ["p"], name="node_1"
                ),
                helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]),
            ],
            [value("x", ["n", "m"])],
            [value("y", ["n", 3])],
            [
                constant("w", np.ones((4, 3)), "uint8"),
                constant("s", 0.1, "float32"),
                constant("z", 0, "uint8"),
            ],
        ),
        (floats(2, 4),),
        (floats(2, 5),),
    ),
    "DequantizeLinear": Refused(
        model(
            [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], name="node_1", axis=1)],
            [value("x", ["n", "m"], TensorProto.UINT8)],
            [value("y", ["n", "m"])],
            [constant("s", weights(4)), constant("z", np.zeros(4), "uint8")],
        ),
        (np.ones((2, 4), np.uint8),),
        (np.ones((2, 5), np.uint8),),
    ),
    "DynamicQuantizeMatMul": Refused(
        model(
            [
                helper.make_node(
                    "DynamicQuantizeMatMul", ["x", "w", "s"], ["y"], name="node_1", domain=MS
                )
            ],
            [value("x", ["n", "m"])],
            [value("y", ["n", 3])],
            [constant("w", np.ones((4, 3)), "uint8"), constant("s", 0.1, "float32")],
        ),
        (floats(2, 4),),
        (floats(2, 5),),
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
    "TreeEnsembleRegressor": Refused(
        of_learning(
            "TreeEnsembleRegressor",
            ROW,
            n_targets=1,
            nodes_falsenodeids=[2, 0, 0],
            nodes_featureids=[5, 0, 0],
            nodes_hitrates=[1.0] * 3,
            nodes_missing_value_tracks_true=[0] * 3,
            nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
            nodes_nodeids=[0, 1, 2],
            nodes_treeids=[0, 0, 0],
            nodes_truenodeids=[1, 0, 0],
            nodes_values=[0.5, 0.0, 0.0],
            target_ids=[0, 0],
            target_nodeids=[1, 2],
            target_treeids=[0, 0],
            target_weights=[1.0, 2.0],
        ),
        (floats(2, 6),),
        (floats(2, 3),),
    ),
    "OneHotEncoder": Refused(
        of_learning("OneHotEncoder", {"x": ("s", ["n"])}, cats_strings=["a"], zeros=0),
        (np.array(["a"], object),),
        (np.array(["b"], object),),
    ),
}
