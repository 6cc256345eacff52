"""Operators of ONNX Runtime itself, and of classical machine learning."""

import numpy as np
from onnx import TensorProto, helper

from tests.engine.graphs import constant, model, value, weights
from tests.engine.refused_graphs import MS, ROW, Refused, floats, graph, ints, of_learning

FUSED: dict[str, Refused] = {
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
