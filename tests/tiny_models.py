"""Models of a few bytes, one for each feature that the tests of the protocol need."""

from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from tests.engine.graphs import INT64, constant, model, node, save, value

DATATYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
ONE_THREAD = "[instances]\ncount = 1\nthreads = 1\n"
"""For model.toml: runs have a thread, whatever was measured."""


def identity(folder: Path, datatype: str) -> None:
    """``same_<datatype>``: returns ``x`` [-1, -1] as ``y``."""
    x, y = (value(name, ["batch", "n"], DATATYPES[datatype]) for name in ("x", "y"))
    save(model([node("Identity", "x", to="y")], [x], [y]), folder / f"same_{datatype.lower()}")


def limited(folder: Path) -> None:
    """``limited``: returns ``x`` FP32 [-1, -1] as ``y``, at most 64 rows."""
    x, y = (value(name, ["batch", "n"]) for name in ("x", "y"))
    save(model([node("Identity", "x", to="y")], [x], [y]), folder / "limited")
    (folder / "limited/model.toml").write_text("[batching]\nmax_batch_size = 64\n")


def two(folder: Path) -> None:
    """``two``: the sum and the difference of ``a`` and ``b``, FP32 [-1, 2]."""
    a, b, s, d = (value(name, ["batch", 2]) for name in ("a", "b", "sum", "difference"))
    nodes = [node("Add", "a", "b", to="sum"), node("Sub", "a", "b", to="difference")]
    save(model(nodes, [a, b], [s, d]), folder / "two")


def scalar(folder: Path) -> None:
    """``scalar``: minus ``x``, FP32 without an axis."""
    save(model([node("Neg", "x", to="y")], [value("x", [])], [value("y", [])]), folder / "scalar")


def fixed(folder: Path) -> None:
    """``fixed``: minus ``x``, FP32 [2, 3], with fixed axes only."""
    x, y = value("x", [2, 3]), value("y", [2, 3])
    save(model([node("Neg", "x", to="y")], [x], [y]), folder / "fixed")


def houses(folder: Path, toml: str = "") -> None:
    """``houses``: a pipeline as skl2onnx writes it, an input for each column: ``area`` FP32,
    ``rooms`` INT64, ``city`` BYTES and ``garden`` BOOL [-1, 1] to ``price`` FP32 [-1, 1]."""
    kinds = {"area": "FP32", "rooms": "INT64", "city": "BYTES", "garden": "BOOL"}
    inputs = [value(name, [None, 1], DATATYPES[kind]) for name, kind in kinds.items()]
    ml = "ai.onnx.ml"
    cities: dict[str, Any] = {"cats_strings": ["Oslo", "Paris"], "zeros": 1}
    nodes = [
        helper.make_node("OneHotEncoder", ["city"], ["cities"], domain=ml, **cities),
        node("Squeeze", "cities", "one", to="places"),
        node("Cast", "rooms", to="number", to_=TensorProto.FLOAT),
        node("Cast", "garden", to="green", to_=TensorProto.FLOAT),
        node("Concat", "area", "number", "green", "places", to="features", axis=1),
        node("MatMul", "features", "weights", to="product"),
        node("Add", "product", "bias", to="price"),
    ]
    for cast in nodes[2:4]:
        cast.attribute[0].name = "to"
    numbers = [
        constant("one", [1], "int64"),
        constant("weights", [[2.5], [10.25], [5.125], [100.5], [300.75]], "float32"),
        constant("bias", [7.5], "float32"),
    ]
    proto = model(nodes, inputs, [value("price", [None, 1])], numbers)
    proto.opset_import.append(helper.make_opsetid(ml, 3))
    save(proto, folder / "houses")
    if toml:
        (folder / "houses/model.toml").write_text(toml)


def normalizer(folder: Path, **attributes: object) -> None:
    """``x`` BYTES [-1] in lower case as ``y``, by the locale that the node names or en_US.UTF-8."""
    x, y = (value(name, ["n"], DATATYPES["BYTES"]) for name in "xy")
    lower = node("StringNormalizer", "x", to="y", case_change_action="LOWER", **attributes)
    save(model([lower], [x], [y]), folder)


def wide(folder: Path, width: int) -> None:
    """``wide``: repeats ``x`` FP32 [-1, 1] many times: a large answer to a small request."""
    tile = node("Tile", "x", "repeats", to="y")
    x, y = value("x", ["batch", 1]), value("y", ["batch", width])
    save(model([tile], [x], [y], [constant("repeats", [1, width], "int64")]), folder / "wide")
    (folder / "wide/model.toml").write_text(ONE_THREAD)


def counting(folder: Path, name: str = "counting", toml: str = ONE_THREAD) -> None:
    """Counts to ``n``, INT64 [1], about a microsecond for each number; returns ``y``, INT64 [1]."""
    body = helper.make_graph(
        [node("Identity", "go", to="on"), node("Add", "at", "one", to="next")],
        "body",
        [value("i", [], INT64), value("go", [], TensorProto.BOOL), value("at", [1], INT64)],
        [value("on", [], TensorProto.BOOL), value("next", [1], INT64)],
    )
    nodes = [node("Squeeze", "n", to="trips"), node("Loop", "trips", "", "zero", to="y", body=body)]
    numbers = [constant("one", [1], "int64"), constant("zero", [0], "int64")]
    n, y = value("n", [1], INT64), value("y", [1], INT64)
    save(model(nodes, [n], [y], numbers), folder / name)
    if toml:
        (folder / name / "model.toml").write_text(toml)


def comparing(folder: Path, name: str = "comparing", toml: str = ONE_THREAD) -> None:
    """Compares ``n``, INT64 [1], boxes with each other in one node; ``y``, INT64 [1], is the number
    of boxes kept. 300,000 boxes take more than a minute, but little memory."""
    nodes = [
        node("Squeeze", "n", to="count"),
        node("Range", "none", "count", "step", to="at"),
        helper.make_node("Cast", ["at"], ["x"], to=TensorProto.FLOAT),
        node("Unsqueeze", "x", "sides", to="left"),
        node("Mul", "left", "zero", to="low"),
        node("Add", "left", "half", to="right"),
        node("Add", "low", "half", to="high"),
        node("Concat", "low", "left", "high", "right", to="boxes", axis=2),
        node("Transpose", "high", to="scores", perm=[0, 2, 1]),
        node("NonMaxSuppression", "boxes", "scores", "all", "half", to="kept"),
        node("Shape", "kept", to="shape"),
        node("Slice", "shape", "first", "second", to="y"),
    ]
    numbers = [
        constant("none", 0, "int64"),
        constant("step", 1, "int64"),
        constant("sides", [0, 2], "int64"),
        constant("zero", 0, "float32"),
        constant("half", [0.5], "float32"),
        constant("all", [2**40], "int64"),
        constant("first", [0], "int64"),
        constant("second", [1], "int64"),
    ]
    n, y = value("n", [1], INT64), value("y", [1], INT64)
    save(model(nodes, [n], [y], numbers), folder / name)
    if toml:
        (folder / name / "model.toml").write_text(toml)


def allocating(folder: Path, name: str = "allocating", toml: str = "") -> None:
    """Sums ``n``, INT64 [1], ones to ``y``, FP32 [1]."""
    ones = node("ConstantOfShape", "n", to="ones", value=constant("value", [1], "float32"))
    nodes = [
        ones,
        node("ReduceSum", "ones", to="sum", keepdims=0),
        node("Unsqueeze", "sum", "first", to="y"),
    ]
    n, y = value("n", [1], INT64), value("y", [1])
    save(model(nodes, [n], [y], [constant("first", [0], "int64")]), folder / name)
    if toml:
        (folder / name / "model.toml").write_text(toml)
