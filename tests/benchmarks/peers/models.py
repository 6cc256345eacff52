"""Three models with seeded weights: T, a tiny MLP in FP32; E, an embedding table and an MLP, and M,
an encoder of the shape of MiniLM, both with dynamically quantized products (INT8, a scale for each
channel of the weights)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from tests.benchmarks.protocol import Tensors

TABLE, CATEGORIES, DENSE = 200_000, 26, 13
HIDDEN, HEADS, LENGTH, VOCABULARY, LAYERS = 384, 12, 64, 30_522, 6
KINDS = {"f4": TensorProto.FLOAT, "i8": TensorProto.INT64}


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to serve. ``inputs`` has the dtype and width of each input, ``width`` is that of the
    output; ``batch`` and ``threads`` are settings for batching servers."""

    name: str
    title: str
    inputs: dict[str, tuple[str, int]]
    output: str
    width: int
    batch: int
    threads: int
    top: int
    """Above the largest integer of its inputs."""

    def row(self, seed: int) -> Tensors:
        """Return one row of input."""
        rng = np.random.default_rng(seed)
        return {
            name: rng.standard_normal((1, width)).astype(np.float32)
            if dtype == "f4"
            else rng.integers(0, self.top, (1, width))
            for name, (dtype, width) in self.inputs.items()
        }


SUBJECTS = {
    each.name: each
    for each in (
        Subject("T", "tiny MLP, FP32", {"x": ("f4", 32)}, "y", 10, 32, 1, 0),
        Subject(
            "E", "embedding and MLP, INT8", {"ids": ("i8", CATEGORIES), "dense": ("f4", DENSE)},
            "score", 1, 32, 1, TABLE,
        ),
        Subject("M", "encoder, INT8", {"input_ids": ("i8", LENGTH)}, "embedding", HIDDEN, 8, 2,
                VOCABULARY),
    )
}  # fmt: skip


@dataclass
class Graph:
    """A graph that is built node by node; names are assigned in order."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def weight(self, values: object) -> str:
        """Add a constant; return its name."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def normal(self, *shape: int, scale: float) -> str:
        """Add a constant of random values."""
        return self.weight((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], output, **attributes))
        return output

    def linear(self, value: str, fan_in: int, fan_out: int, output: str = "") -> str:
        """Add a product and a bias."""
        product = self.node("MatMul", value, self.normal(fan_in, fan_out, scale=fan_in**-0.5))
        return self.node("Add", product, self.normal(fan_out, scale=0.01), output=output)


def build(subject: Subject, folder: Path) -> Path:
    """Write the model, unless it exists; return its path."""
    path = folder / f"{subject.name}.onnx"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    graph = Graph(np.random.default_rng(0))
    BODIES[subject.name](graph)
    inputs = [
        helper.make_tensor_value_info(name, KINDS[dtype], ["N", width])
        for name, (dtype, width) in subject.inputs.items()
    ]
    output = helper.make_tensor_value_info(subject.output, TensorProto.FLOAT, ["N", subject.width])
    whole = helper.make_graph(graph.nodes, subject.name, inputs, [output], graph.weights)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    source = path.with_suffix(".fp32")
    onnx.save(model, source)
    if subject.name == "T":
        source.rename(path)
    else:
        quantize_dynamic(
            source, path, weight_type=QuantType.QInt8, per_channel=True,
            op_types_to_quantize=["MatMul"],
        )  # fmt: skip
        source.unlink()
    return path


def _tiny(graph: Graph) -> None:
    hidden = graph.node("Relu", graph.linear("x", 32, 64))
    graph.linear(hidden, 64, 10, output="y")


def _recommender(graph: Graph) -> None:
    found = graph.node("Gather", graph.normal(TABLE, 32, scale=0.1), "ids", axis=0)
    flat = graph.node("Reshape", found, graph.weight(np.array([-1, CATEGORIES * 32])))
    value = graph.node("Concat", flat, "dense", axis=1)
    widths = (CATEGORIES * 32 + DENSE, 2048, 2048, 1024, 256)
    for fan_in, fan_out in zip(widths, widths[1:], strict=False):
        value = graph.node("Relu", graph.linear(value, fan_in, fan_out))
    graph.node("Sigmoid", graph.linear(value, 256, 1), output="score")


def _encoder(graph: Graph) -> None:
    size = HIDDEN // HEADS
    apart = graph.weight(np.array([-1, LENGTH, HEADS, size]))
    together = graph.weight(np.array([-1, LENGTH, HIDDEN]))
    scale, half = graph.weight(np.float32(size**-0.5)), graph.weight(np.float32(0.5))
    root, one = graph.weight(np.float32(0.5**0.5)), graph.weight(np.float32(1))

    def normalized(value: str) -> str:
        gain = graph.weight(np.ones(HIDDEN, np.float32))
        bias = graph.weight(np.zeros(HIDDEN, np.float32))
        return graph.node("LayerNormalization", value, gain, bias, axis=-1)

    def heads(value: str, order: list[int]) -> str:
        split = graph.node("Reshape", graph.linear(value, HIDDEN, HIDDEN), apart)
        return graph.node("Transpose", split, perm=order)

    words = graph.node("Gather", graph.normal(VOCABULARY, HIDDEN, scale=0.1), "input_ids", axis=0)
    value = normalized(graph.node("Add", words, graph.normal(1, LENGTH, HIDDEN, scale=0.1)))
    for _ in range(LAYERS):
        queries, keys = heads(value, [0, 2, 1, 3]), heads(value, [0, 2, 3, 1])
        values = heads(value, [0, 2, 1, 3])
        scores = graph.node("Mul", graph.node("MatMul", queries, keys), scale)
        mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), values)
        back = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
        attention = graph.linear(graph.node("Reshape", back, together), HIDDEN, HIDDEN)
        value = normalized(graph.node("Add", value, attention))
        wide = graph.linear(value, HIDDEN, 4 * HIDDEN)
        gate = graph.node("Add", graph.node("Erf", graph.node("Mul", wide, root)), one)
        gelu = graph.node("Mul", graph.node("Mul", wide, gate), half)
        value = normalized(graph.node("Add", value, graph.linear(gelu, 4 * HIDDEN, HIDDEN)))
    graph.node("ReduceMean", value, axes=[1], keepdims=0, output="embedding")


BODIES: dict[str, Callable[[Graph], None]] = {"T": _tiny, "E": _recommender, "M": _encoder}
