"""Operators of ONNX that refuse the shape of an input."""

import numpy as np
from onnx import TensorProto, helper

from tests.engine.graphs import INT64, constant, model, value, weights
from tests.engine.refused_graphs import ROW, Refused, floats, graph, ids, ints, position_table

SHAPES: dict[str, Refused] = {
    "Add": Refused(position_table(), (ids(1, 8),), (ids(1, 12),)),
    "Reshape": Refused(
        graph("Reshape", ROW, {"s": ints(0, -1, 8)}), (floats(2, 16),), (floats(2, 12),)
    ),
    "Reshape fixed": Refused(
        graph("Reshape", ROW, {"s": ints(-1, 4)}), (floats(2, 4),), (floats(1, 7),)
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
    "Pad negative": Refused(
        graph("Pad", ROW, {"p": ints(0, -3, 0, 0)}), (floats(2, 8),), (floats(2, 2),)
    ),
    "Split": Refused(
        graph("Split", ROW, {"s": ints(2, 2)}, axis=1, outputs=2), (floats(2, 4),), (floats(2, 5),)
    ),
    "Split even": Refused(
        graph("Split", ROW, axis=1, outputs=2, opset=13), (floats(2, 4),), (floats(2, 5),)
    ),
    "Squeeze": Refused(graph("Squeeze", ROW, {"a": ints(1)}), (floats(2, 1),), (floats(2, 3),)),
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
    "LayerNormalization": Refused(
        graph("LayerNormalization", ROW, {"w": weights(4)}), (floats(2, 4),), (floats(2, 5),)
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
}
