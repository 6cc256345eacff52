"""The bound on INT8 weights in every part of a file, and weights that cannot be bounded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat

from service.engine.onnx_file.snapshot import ModelFile
from service.engine.onnx_file.weights import weights_fit
from tests.engine import graphs, quantizers
from tests.engine.graphs import constant, node, value

INT8, UINT8, INT32 = TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32
X, Y = value("x", ["batch", 4], UINT8), value("y", ["batch", 3], INT32)
MULTIPLY = node("MatMulInteger", "x", "w", to="y")
Model = onnx.ModelProto


def fits(model: Model, folder: Path) -> bool:
    return weights_fit(ModelFile(graphs.save(model, folder) / "model.onnx"))


def weight(top: int) -> np.ndarray:
    array = np.zeros((4, 3), np.int8)
    array[2, 1] = top
    return array


def raw(top: int) -> Model:
    return graphs.model([MULTIPLY], [X], [Y], [constant("w", weight(top))])


def listed(top: int) -> Model:
    tensor = helper.make_tensor("w", INT8, (4, 3), weight(top).ravel().tolist())
    assert not tensor.raw_data and tensor.int32_data
    return graphs.model([MULTIPLY], [X], [Y], [tensor])


def in_a_node(top: int) -> Model:
    made = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight(top)))
    return graphs.model([made, MULTIPLY], [X], [Y])


def filled(top: int) -> Model:
    number = numpy_helper.from_array(np.array([top], np.int8))
    made = helper.make_node("ConstantOfShape", ["shape"], ["w"], value=number)
    return graphs.model([made, MULTIPLY], [X], [Y], [constant("shape", [4, 3], np.int64)])


def in_a_branch(top: int) -> Model:
    inner = helper.make_graph([MULTIPLY], "branch", [], [Y], [constant("w", weight(top))])
    choice = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    ends = [value("c", [], TensorProto.BOOL), X]
    return graphs.model([choice], ends, [value("z", ["batch", 3], INT32)])


def in_a_function(top: int) -> Model:
    made = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight(top)))
    opset = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "Product", ["x"], ["y"], [made, MULTIPLY], opset)
    model = graphs.model([helper.make_node("Product", ["x"], ["y"], domain="own")], [X], [Y])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def dequantized(top: int) -> Model:
    return graphs.model(
        [node("DequantizeLinear", "w", "s", to="f"), node("MatMul", "x", "f", to="y")],
        [value("x", ["batch", 4])],
        [value("y", ["batch", 3])],
        [constant("w", weight(top)), constant("s", 1, np.float32)],
    )


@pytest.mark.parametrize(
    "build", [raw, listed, in_a_node, filled, in_a_branch, in_a_function, dequantized]
)
def test_the_largest_weight_in_any_part_of_a_model_decides(
    build: Callable[[int], Model], tmp_path: Path
) -> None:
    assert [fits(build(top), tmp_path) for top in (0, 64, -64, 65, -65, 127, -128)] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=20))
def test_both_encodings_of_a_tensor_have_the_same_bound(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
) -> None:
    folder, shape = tmp_path_factory.mktemp("weights"), (1, len(numbers))
    want = max(map(abs, numbers)) <= 64
    for tensor in (
        helper.make_tensor("w", INT8, shape, numbers),
        constant("w", np.array([numbers], np.int8)),
    ):
        assert fits(graphs.model([MULTIPLY], [X], [Y], [tensor]), folder) == want


def external(model: Model, folder: Path) -> Path:
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    path = graphs.save(model, folder) / "model.onnx"
    onnx.save(onnx.load_from_string(model.SerializeToString()), path)
    return path


def test_external_weights_are_read(tmp_path: Path) -> None:
    for top, want in ((64, True), (65, False)):
        path = external(raw(top), tmp_path / str(top))
        assert (path.parent / "weights.bin").is_file()
        assert weights_fit(ModelFile(path)) is want
        (path.parent / "weights.bin").unlink()
        assert not weights_fit(ModelFile(path))


@pytest.mark.parametrize("location", ["../../weights.bin", "/etc/passwd", ""])
def test_external_weights_outside_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    model = raw(0)
    (tensor,) = model.graph.initializer
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    assert not fits(model, tmp_path)


def test_weights_that_a_request_may_replace_are_not_bounded(tmp_path: Path) -> None:
    model = raw(1)
    model.graph.input.append(value("w", [4, 3], INT8))
    assert not fits(model, tmp_path)
    model.ir_version = 3  # in version 3 every weight is listed as an input, but is a constant
    assert fits(model, tmp_path)
    del model.graph.initializer[:]
    assert not fits(model, tmp_path)


def rounded(zero: np.ndarray | None, **attributes: int) -> Model:
    names = ("f", "s") if zero is None else ("f", "s", "z")
    zeros = [] if zero is None else [constant("z", zero)]
    return graphs.model(
        [node("QuantizeLinear", *names, to="w", **attributes), MULTIPLY],
        [X],
        [Y],
        [constant("f", np.ones((4, 3), np.float32)), constant("s", 1, np.float32), *zeros],
        opset=21,
    )


def test_weights_rounded_at_load_are_not_bounded_unless_unsigned(tmp_path: Path) -> None:
    assert not fits(rounded(np.int8(0)), tmp_path)
    assert not fits(rounded(None, output_dtype=INT8), tmp_path)
    assert fits(rounded(np.uint8(0)), tmp_path)
    assert fits(rounded(None), tmp_path)


def test_computed_weights_are_not_bounded(tmp_path: Path) -> None:
    turned = graphs.model(
        [node("Transpose", "v", to="w"), MULTIPLY], [X], [Y], [constant("v", weight(1).T)]
    )
    assert not fits(turned, tmp_path)


def test_a_table_that_no_product_reads_may_hold_any_value(tmp_path: Path) -> None:
    lookup = [
        node("Gather", "table", "x", to="row"),
        node("DequantizeLinear", "row", "s", to="f"),
        node("Add", "f", "b", to="y"),
    ]
    ends = [value("x", ["batch"], TensorProto.INT64)], [value("y", ["batch", 3])]
    kept = [constant("table", weight(127)), constant("s", 1, np.float32)]
    kept.append(constant("b", np.ones(3, np.float32)))
    assert fits(graphs.model(lookup, *ends, kept), tmp_path)
    lookup[2] = node("MatMul", "f", "m", to="y")
    kept.append(constant("m", np.ones((3, 3), np.float32)))
    assert not fits(graphs.model(lookup, *ends, kept), tmp_path)


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("scalar", ["initializer", "tensor", "number"])
def test_a_product_after_a_neutral_operation_is_checked(
    operator: str, scalar: str, tmp_path: Path
) -> None:
    """ONNX Runtime removes the operation, and fuses the product with the weight."""
    number = constant("k", float(operator in ("Mul", "Div")), np.float32)
    made = {
        "initializer": [],
        "tensor": [helper.make_node("Constant", [], ["k"], value=number)],
        "number": [helper.make_node("Constant", [], ["k"], value_float=1.0)],
    }[scalar]
    nodes = [
        *made,
        node("DequantizeLinear", "w", "s", to="f"),
        node(operator, "f", "k", to="g"),
        node("MatMul", "x", "g", to="y"),
    ]
    ends = [value("x", ["batch", 4])], [value("y", ["batch", 3])]
    for top in (64, 127):
        kept = [constant("w", weight(top)), constant("s", 1, np.float32)]
        kept += [number] * (not made)
        assert fits(graphs.model(nodes, *ends, kept), tmp_path) is (top == 64)


@pytest.mark.parametrize("content", [b"", b"\0\1\2", b"no model"])
def test_a_file_that_cannot_be_read_is_not_bounded(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert not weights_fit(ModelFile(tmp_path / "model.onnx"))
    assert not weights_fit(ModelFile(tmp_path / "nothing.onnx"))


def test_weights_of_the_quantizers_are_not_bounded(tmp_path: Path) -> None:
    assert fits(graphs.linear(), tmp_path)
    assert not fits(quantizers.dynamic(graphs.linear(), tmp_path), tmp_path)
    assert not fits(quantizers.static(graphs.linear(), tmp_path), tmp_path)
    # Signed activations are rounded to INT8 as well.
    assert not fits(quantizers.static(graphs.linear(), tmp_path, QuantFormat.QOperator), tmp_path)


@pytest.mark.parametrize("version", ["digits/1", "digits/2", "diabetes/1"])
def test_the_shipped_models_have_seven_bit_weights(version: str) -> None:
    models = Path(__file__).parents[3] / "models"
    assert weights_fit(ModelFile(models / version / "model.onnx"))
