"""Precision is read from files of real quantizers; paths cannot leave the folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantFormat, QuantType
from onnxruntime.transformers.float16 import convert_float_to_float16

from service.core.errors import LoadFailed
from service.engine.onnx_file.external import external_data
from service.engine.onnx_file.summary import (
    GraphSummary,
    Precision,
    check_external_files,
    summarise,
)
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import graphs, quantizers
from tests.engine.onnx_file.test_protobuf import encoded


def summary(model: onnx.ModelProto, folder: Path) -> GraphSummary:
    return summarise(graphs.save(model, folder) / "model.onnx")


def blocks(bits: int) -> onnx.ModelProto:
    """A product with weights of 4 or 8 bits in blocks of 32, packed into bytes."""
    rows, columns, packed = 64, 64, 32 * bits // 8
    return graphs.model(
        [
            helper.make_node(
                "MatMulNBits", ["x", "w", "scales"], ["y"], domain="com.microsoft",
                K=rows, N=columns, bits=bits, block_size=32, accuracy_level=4,
            )
        ],
        [graphs.value("x", ["batch", rows])],
        [graphs.value("y", ["batch", columns])],
        [
            graphs.constant("w", np.zeros((columns, rows // 32, packed), np.uint8)),
            graphs.constant("scales", np.ones(columns * rows // 32, np.float32)),
        ],
    )  # fmt: skip


Make = Callable[[Path], onnx.ModelProto]
PRECISIONS: dict[str, Make] = {
    "FP32": lambda _: graphs.linear(),
    "FP16": lambda _: convert_float_to_float16(graphs.linear()),
    "INT8 QDQ": lambda folder: quantizers.static(graphs.linear(), folder),
    "INT8 QOperator": lambda folder: quantizers.static(
        graphs.linear(), folder, QuantFormat.QOperator
    ),
    "INT8 dynamic": lambda folder: quantizers.dynamic(graphs.linear(), folder),
    "INT4 QDQ": lambda folder: quantizers.static(graphs.linear(), folder, weights=QuantType.QInt4),
    "INT4 weight-only": lambda _: blocks(4),
    "INT8 weight-only": lambda _: blocks(8),
    "no weights": lambda _: graphs.no_batch_out(),
}


@pytest.mark.parametrize("expected", PRECISIONS)
def test_the_precision_of_a_real_file(expected: str, tmp_path: Path) -> None:
    model = PRECISIONS[expected](tmp_path)
    found = summary(model, tmp_path)
    assert str(found.precision) == expected
    assert sum(share for _, share in found.precision.shares) == pytest.approx(
        0 if expected == "no weights" else 1
    )
    assert found.precision.dynamic is (expected == "INT8 dynamic")
    Session(tmp_path / "1/model.onnx", SessionOptions())  # a real file is one that loads


def test_four_bit_weights_are_counted_as_weights_and_not_as_bytes(tmp_path: Path) -> None:
    shares = dict(summary(blocks(4), tmp_path).precision.shares)
    assert shares == {"INT4": pytest.approx(32 / 33), "FP32": pytest.approx(1 / 33)}


def test_the_share_of_unquantized_weights_is_shown(tmp_path: Path) -> None:
    model = graphs.linear()
    model.graph.initializer[1].CopyFrom(graphs.constant("v", np.zeros((64, 10), np.int8)))
    model.graph.node.append(graphs.node("QuantizeLinear", "x", "s", to="q"))
    assert str(summary(model, tmp_path).precision) == "INT8 QDQ, 76 % FP32"


def test_fake_quantization_of_float_weights_is_not_int8(tmp_path: Path) -> None:
    model = graphs.linear()
    model.graph.node.append(graphs.node("QuantizeLinear", "w", "s", to="q"))
    assert str(summary(model, tmp_path).precision) == "FP32 QDQ"


def test_integer_products_on_given_scales_are_not_dynamic(tmp_path: Path) -> None:
    model = graphs.linear()
    model.graph.node.append(graphs.node("MatMulInteger", "q", "v", to="i"))
    assert summary(model, tmp_path).precision.scheme == "QOperator"


def nested(levels: int) -> onnx.ModelProto:
    """Two weights, and a dynamic product, inside as many branches."""
    body = helper.make_graph(
        [
            graphs.node("Constant", to="w", value=graphs.constant("same", np.ones(60, np.float32))),
            graphs.node("Constant", to="v", value=graphs.constant("same", np.ones(40, np.int8))),
            graphs.node("DynamicQuantizeLinear", "w", to="q"),
        ],
        "body", [], [graphs.value("w", [60])],
    )  # fmt: skip
    for level in range(levels):
        branch = graphs.node("If", "c", to=f"y{level}", then_branch=body)
        body = helper.make_graph([branch], "body", [], [graphs.value(f"y{level}", None)])
    return helper.make_model(body)


def test_subgraphs_are_read_and_constants_of_one_name_all_count(tmp_path: Path) -> None:
    precision = summary(nested(3), tmp_path).precision
    assert precision.shares == (("FP32", 0.6), ("INT8", 0.4))
    assert precision.dynamic


def test_a_deeply_nested_graph_is_refused(tmp_path: Path) -> None:
    data = b""
    for field in [6, 5, 1] * 50 + [7]:  # node, attribute, graph ... of the model
        data = bytes([field << 3 | 2]) + encoded(len(data)) + data
    file = tmp_path / "model.onnx"
    file.write_bytes(data)
    with pytest.raises(LoadFailed, match="nested more than 32 deep"):
        summarise(file)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"\0", "without a number"),
        (b"not a model at all", ""),
        (b"\x08\x09", "0 g"),
    ],
)
def test_files_that_are_not_a_model_are_refused(data: bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(data)
    with pytest.raises(LoadFailed, match=f"not an ONNX model.*{problem}"):
        summarise(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="is not a file"):
        summarise(tmp_path)
    with pytest.raises(LoadFailed, match="cannot be read: No such file"):
        summarise(tmp_path / "model.onnx")


@given(st.data())
def test_a_damaged_file_is_summarised_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bytearray(graphs.attention().SerializeToString())
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "damaged.onnx"
    file.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
    try:
        assert isinstance(summarise(file).precision, Precision)
    except LoadFailed as error:
        assert "not an ONNX model" in str(error) or "is refused" in str(error)


def hostile(kind: str) -> bytes:
    """A small file that would need much memory or time."""
    model = graphs.linear()
    tensor = model.graph.initializer[0]
    if kind == "dims":
        tensor.dims[:] = [2] * 100_000
    elif kind == "dims of external data":
        model = external("weights.bin")
        model.graph.initializer[0].dims[:] = [3] * 100_000
    elif kind == "sparse tensors":
        for _ in range(3):
            model.graph.sparse_initializer.add().dims[:] = [2**27]
    elif kind == "dims of a sparse tensor":
        sparse = model.graph.sparse_initializer.add()
        sparse.dims[:] = [2**20, 2**20]
    elif kind == "dims of a constant":
        constant = helper.make_node("Constant", [], ["c"], value=graphs.constant("", [1.0]))
        constant.attribute[0].t.dims[:] = [2] * 1000
        model.graph.node.append(constant)
    elif kind == "dims of an input":
        shape = model.graph.input[0].type.tensor_type.shape
        for _ in range(100_000):
            shape.dim.add(dim_value=2)
    elif kind == "a negative dimension":
        tensor.dims[:] = [-1, 64]
    elif kind == "elements":
        tensor.dims[:] = [2**62]
    elif kind == "functions":
        for i in range(25):
            calls = [helper.make_node(f"f{i + 1}", ["x"], ["y"], domain="d")] * 3
            opset = [helper.make_opsetid("d", 1)]
            model.functions.append(helper.make_function("d", f"f{i}", ["x"], ["y"], calls, opset))
        model.graph.node.append(helper.make_node("f0", ["x"], ["q"], domain="d"))
    elif kind == "a function that calls itself":
        call = [helper.make_node("f", ["x"], ["y"], domain="d")]
        model.functions.append(helper.make_function("d", "f", ["x"], ["y"], call, []))
        model.graph.node.append(helper.make_node("f", ["x"], ["q"], domain="d"))
    elif kind == "nodes":
        return model.SerializeToString() + part(7, part(1, b"") * 100_001)
    elif kind == "fields":
        return model.SerializeToString() + part(7, b"\x68\1" * 1_000_001)
    elif kind == "attributes":
        return model.SerializeToString() + part(7, part(1, part(5, b"") * 1_000_001))
    elif kind == "two values of an attribute":
        constant = helper.make_node("Constant", [], ["c"], value=graphs.constant("", [1.0]))
        attribute = constant.attribute[0].SerializeToString() + part(5, b"\x70\1")
        node = helper.make_node("Constant", [], ["c"]).SerializeToString() + part(5, attribute)
        return model.SerializeToString() + part(7, part(1, node))
    elif kind == "a name":
        model.graph.node[0].op_type = "x" * 100_000
    return model.SerializeToString()


def part(number: int, data: bytes) -> bytes:
    """A field of a message."""
    return bytes([number << 3 | 2]) + encoded(len(data)) + data


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("dims", "more than 64 integers|more than 64 dimensions"),
        ("dims of external data", "more than 64 integers|more than 64 dimensions"),
        ("dims of a sparse tensor", "more than 268435456 elements"),
        ("sparse tensors", "more than 268435456 elements in all"),
        ("dims of a constant", "more than 64 integers|more than 64 dimensions"),
        ("dims of an input", "'x' has more than 64 dimensions"),
        ("a negative dimension", "tensor 'w': dimension -1 is negative"),
        ("elements", "tensor 'w': .*elements"),
        ("functions", "calls of functions make more than 20000 nodes"),
        ("a function that calls itself", "calls of function 'f' are nested more than 32 deep"),
        ("nodes", "more than 100000 nodes"),
        ("fields", "more than 1000000 parts"),
        ("attributes", "a node has more than 1000 attributes"),
        ("two values of an attribute", "an attribute with more than one tensor or graph"),
        ("a name", "a name of 100000 bytes"),
    ],
)
def test_a_graph_above_the_limits_is_refused(kind: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(hostile(kind))
    with pytest.raises(LoadFailed, match=f"model.onnx is (refused|not an ONNX model): .*({why})"):
        summarise(file)


def test_a_forest_of_many_trees_is_not_a_large_graph(tmp_path: Path) -> None:
    model = graphs.linear()
    forest = model.graph.node[0].attribute
    forest.append(helper.make_attribute("nodes_values", [1.5] * 3_000_000))
    forest.append(helper.make_attribute("nodes_featureids", [-1, 2**40, 7] * 1_000_000))
    modes = [
        "BRANCH_LEQ",
        "BRANCH_LT",
        "BRANCH_GTE",
        "BRANCH_GT",
        "BRANCH_EQ",
        "BRANCH_NEQ",
        "LEAF",
    ]
    forest.append(helper.make_attribute("nodes_modes", modes * 150_000))
    forest.append(helper.make_attribute("last", 5))
    folder = graphs.save(model, tmp_path)
    assert summarise(folder / "model.onnx").operators == {"MatMul", "Relu"}


def external(location: str) -> onnx.ModelProto:
    model = graphs.linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model


def test_weights_beside_the_graph_are_accepted(tmp_path: Path) -> None:
    folder = graphs.save(external("weights.bin"), tmp_path)
    weights = np.ascontiguousarray(graphs.weights(32, 64))
    (folder / "weights.bin").write_bytes(weights.tobytes())
    found = summarise(folder / "model.onnx")
    assert found.external_files == ("weights.bin",)
    check_external_files(found, folder)
    Session(folder / "model.onnx", SessionOptions())


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/hostname", "a/../../secret.bin", "link.bin", "linked/x"]
)
def test_weights_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    folder = graphs.save(external(location), tmp_path / "model")
    (tmp_path / "model" / "secret.bin").write_bytes(b"secret")
    (folder / "link.bin").symlink_to(tmp_path / "model" / "secret.bin")
    (folder / "linked").symlink_to("/etc")
    with pytest.raises(LoadFailed, match="leads outside the folder"):
        check_external_files(summarise(folder / "model.onnx"), folder)


@pytest.mark.parametrize("location", ["absent.bin", "", "folder", "*/_ORT_MEM_ADDR_/*"])
def test_missing_weights_are_refused(location: str, tmp_path: Path) -> None:
    folder = graphs.save(external(location), tmp_path)
    (folder / "folder").mkdir()
    with pytest.raises(LoadFailed, match="is not in the folder"):
        check_external_files(summarise(folder / "model.onnx"), folder)


def placed(**entries: str) -> GraphSummary:
    """The summary of an external tensor of 32 x 64 FP32, 8192 bytes, with these entries."""
    (found,) = external_data("w", [("location", "w.bin"), *entries.items()], 1, (32, 64))
    return GraphSummary(Precision((), ""), (found,))


@pytest.mark.parametrize(
    ("entries", "needed"),
    [
        ({}, 8192),
        ({"length": "8192"}, 8192),
        ({"length": "0"}, 8192),  # no entries
        ({"offset": "4096"}, 12288),
        ({"offset": "4096", "length": "8192", "checksum": "abc"}, 12288),
        ({"length": "9000"}, 9000),
    ],
)
def test_truncated_weights_are_refused(
    entries: dict[str, str], needed: int, tmp_path: Path
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(needed))
    check_external_files(placed(**entries), tmp_path)
    (tmp_path / "w.bin").write_bytes(bytes(needed - 1))
    with pytest.raises(LoadFailed, match=f"'w.bin' has {needed - 1} bytes, .*'w' needs {needed}"):
        check_external_files(placed(**entries), tmp_path)


def test_the_last_tensor_in_a_file_determines_its_needed_size(tmp_path: Path) -> None:
    model = external("weights.bin")
    for name, offset in (("far", 100_000), ("near", 0)):
        tensor = model.graph.initializer.add(name=name, dims=[3], data_type=TensorProto.INT4)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
        tensor.external_data.add(key="offset", value=str(offset))
    (found,) = summary(model, tmp_path).external
    assert (found.tensor, found.end) == ("far", 100_002)


@pytest.mark.parametrize("value", ["-1", "x", "", "1e3", "9" * 20, "\u0661", "1_0", " 1"])
@pytest.mark.parametrize("key", ["offset", "length"])
def test_an_invalid_offset_or_length_is_refused(key: str, value: str, tmp_path: Path) -> None:
    model = external("weights.bin")
    model.graph.initializer[0].external_data.add(key=key, value=value)
    with pytest.raises(LoadFailed, match=f"{key} is"):
        summary(model, tmp_path)


def test_a_second_location_does_not_hide_the_first(tmp_path: Path) -> None:
    model = external("../secret.bin")
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    assert "../secret.bin" in summary(model, tmp_path).external_files


@pytest.mark.parametrize("where", ["subgraph", "function", "sparse"])
def test_external_weights_are_found_in_every_part_of_a_model(where: str, tmp_path: Path) -> None:
    tensor = external("../secret.bin").graph.initializer[0]
    hidden = graphs.node("Constant", to="w", value=tensor)
    model = graphs.linear()
    if where == "subgraph":
        body = helper.make_graph([hidden], "body", [], [graphs.value("w", None)])
        model.graph.node.append(graphs.node("If", "c", to="z", then_branch=body))
    elif where == "function":
        opsets = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("d", "F", [], ["w"], [hidden], opsets))
    else:
        model.graph.sparse_initializer.add(values=tensor)
    assert summary(model, tmp_path).external_files == ("../secret.bin",)


def test_a_tensor_without_a_shape_differs_from_a_scalar(tmp_path: Path) -> None:
    inputs = [graphs.value("any", None), graphs.value("scalar", []), graphs.value("row", [None])]
    adds = [
        graphs.node("Add", "any", "scalar", to="sum"),
        graphs.node("Add", "sum", "row", to="y"),
    ]
    found = summary(graphs.model(adds, inputs, [graphs.value("y", None)]), tmp_path)
    assert found.unranked == {"any", "y"} and found.operators == {"Add"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "git lfs pull"),
        (b"PK\x03\x04\x14\0\0\0", "a zip archive"),
        (b"not a model", "wire type 6"),
    ],
)
def test_a_file_of_another_format_is_refused_with_its_format(
    content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(LoadFailed, match=rf"model\.onnx is not an ONNX model: .*{said}"):
        summarise(tmp_path / "model.onnx")


def branching() -> onnx.ModelProto:
    """A Loop inside a branch of an If."""
    return graphs.model(
        [graphs.node("If", "c", to="y", then_branch=nested(1).graph, else_branch=nested(1).graph)],
        [graphs.value("c", [], onnx.TensorProto.BOOL)],
        [graphs.value("y", None)],
    )


def reshaping(ir_version: int, listed: bool) -> onnx.ModelProto:
    """Reshapes by a constant, which may be listed among the inputs as well."""
    proto = graphs.model(
        [graphs.node("Reshape", "x", "shape", to="y")],
        [graphs.value("x", ["n", 2])],
        [graphs.value("y", None)],
        [graphs.constant("shape", [-1, 4], "int64")],
    )
    if listed:
        proto.graph.input.append(graphs.value("shape", [2], graphs.INT64))
    proto.ir_version = ir_version
    return proto


def calling(operator: str, size: str) -> onnx.ModelProto:
    """Calls a function of the file, with an input named like a constant outside the function."""
    body = helper.make_function(
        "mine", "Mine", ["x", size], ["y"], [graphs.node(operator, "x", "size", to="y")],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    proto = graphs.model(
        [helper.make_node("Mine", ["x", "n"], ["y"], domain="mine")],
        [graphs.value("x", ["n", 2]), graphs.value("n", [2], graphs.INT64)],
        [graphs.value("y", None)],
        [graphs.constant("size", [2, 2], "int64")],
    )
    proto.functions.append(body)
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    return proto


@pytest.mark.parametrize(
    ("proto", "reason"),
    [
        (graphs.linear(), ""),
        (branching(), "operator If"),
        (reshaping(10, listed=False), ""),
        # A request may give another value for it, since IR version 4.
        (reshaping(10, listed=True), "operator Reshape, which takes a size"),
        (reshaping(3, listed=True), ""),
        (calling("Tile", "size"), "operator Tile, which takes a size"),
        (calling("MatMul", "size"), ""),
    ],
)
def test_operators_with_unbounded_time_are_named(
    proto: onnx.ModelProto, reason: str, tmp_path: Path
) -> None:
    found = summary(proto, tmp_path).unbounded
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_a_tensor_attribute_is_not_the_output_of_its_node(tmp_path: Path) -> None:
    attribute = graphs.constant("nodes", [1.0], "float32")
    trees = helper.make_node(
        "TreeEnsemble", ["x"], ["size"], domain="ai.onnx.ml", nodes_splits=attribute
    )
    proto = graphs.model(
        [trees, graphs.node("Expand", "x", "size", to="y")],
        [graphs.value("x", ["n", 2])],
        [graphs.value("y", None)],
    )
    assert "Expand" in summary(proto, tmp_path).unbounded
