"""GELU in the forms that exporters write, and graphs that only look like it."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from service.core.tensors import Array
from service.quantization.graphs.gelu import LOWEST, is_gelu
from service.quantization.graphs.products import Constants
from service.quantization.recipes.catalogue import PerRow
from tests.quantization.recipes.test_per_row import (
    NEAR,
    WIDTH,
    error,
    model_of,
    rewritten,
    rows,
    run,
)

ROOT = {"root": np.float32(np.sqrt(2)), "half": np.float32(0.5), "one": np.float32(1)}


def written_out(*, inverse: bool = False, last_half: bool = True, x: str = "h") -> list:
    """GELU of "h" as "g"; ``x`` is what the sum is multiplied by."""
    scaled = ["Mul", "inverse"] if inverse else ["Div", "root"]
    nodes = [
        helper.make_node(scaled[0], ["h", scaled[1]], ["s"]),
        helper.make_node("Erf", ["s"], ["e"]),
        helper.make_node("Add", ["one", "e"] if inverse else ["e", "one"], ["plus"]),
    ]
    if last_half:
        nodes += [
            helper.make_node("Mul", [x, "plus"], ["double"]),
            helper.make_node("Mul", ["double", "half"], ["g"]),
        ]
    else:
        nodes += [
            helper.make_node("Mul", [x, "half"], ["part"]),
            helper.make_node("Mul", ["part", "plus"], ["g"]),
        ]
    return nodes


def network(nodes: list[onnx.NodeProto], opset: int = 17) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    constants: dict[str, Array] = {name: np.asarray(value) for name, value in ROOT.items()}
    constants |= {
        "inverse": np.asarray(np.float32(np.sqrt(0.5))),
        "w1": rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 16,
        "b1": rng.standard_normal(WIDTH).astype(np.float32),
        "w2": rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 16,
        "b2": rng.standard_normal(WIDTH).astype(np.float32),
    }
    before = [
        helper.make_node("MatMul", ["x", "w1"], ["m"]),
        helper.make_node("Add", ["m", "b1"], ["h"]),
    ]
    after = [
        helper.make_node("MatMul", ["g", "w2"], ["p"]),
        helper.make_node("Add", ["b2", "p"], ["y"]),
    ]
    return model_of([*before, *nodes, *after], constants, opset)


def found(model: onnx.ModelProto) -> bool:
    makers = {name: node for node in model.graph.node for name in node.output}
    return is_gelu("g", makers, Constants(model.graph, model.ir_version))


@pytest.mark.parametrize("asymmetric", [True, False])
@pytest.mark.parametrize(
    ("nodes", "opset"),
    [
        (lambda: written_out(), 17),
        (lambda: written_out(inverse=True), 17),
        (lambda: written_out(last_half=False), 17),
        (lambda: [helper.make_node("Gelu", ["h"], ["g"])], 20),
    ],
)
def test_gelu_is_shifted_by_its_known_minimum(
    nodes: Callable[[], list[onnx.NodeProto]], opset: int, asymmetric: bool
) -> None:
    model = network(nodes(), opset)
    assert found(model)
    made = rewritten(model, PerRow(asymmetric))
    operators = [node.op_type for node in made.graph.node]
    assert operators.count("ReduceMin") == int(asymmetric)  # that of x
    x = rows(12)
    assert error(run(model, x), run(made, x)) < NEAR


def test_the_known_minimum_of_gelu_is_correct() -> None:
    x = np.linspace(-6, 6, 100_001).astype(np.float32)
    model = network(written_out())
    del model.graph.node[:2]
    del model.graph.node[-2:]
    model.graph.input[0].name, model.graph.output[0].name = "h", "g"
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows_of_x = np.pad(x, (0, -len(x) % WIDTH)).reshape(-1, WIDTH)
    assert -LOWEST < session.run(["g"], {"h": rows_of_x})[0].min() < -LOWEST + 1e-3


@pytest.mark.parametrize(
    "nodes",
    [
        lambda: written_out(x="m"),  # of another tensor
        lambda: [helper.make_node("Mul", ["h", "half"], ["g"])],
        lambda: [
            helper.make_node("Erf", ["h"], ["e"]),
            helper.make_node("Add", ["e", "one"], ["plus"]),
            helper.make_node("Mul", ["h", "plus"], ["g"]),
        ],
    ],
)
def test_similar_graphs_are_not_recognised_as_gelu(
    nodes: Callable[[], list[onnx.NodeProto]],
) -> None:
    model = network(nodes())
    assert not found(model)
    x = rows(4)
    assert error(run(model, x), run(rewritten(model, PerRow()), x)) < NEAR
