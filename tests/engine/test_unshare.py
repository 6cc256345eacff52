"""Models whose products share weights or zero points, on which the exact kernels fail."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.engine.kernels import Kernels
from service.engine.session import Session, SessionOptions
from service.engine.unshare import unshared
from tests.engine import graphs, quantizers
from tests.engine.graphs import constant, node, value

WIDTH = 32
ROWS = np.random.default_rng(3).standard_normal((5, WIDTH)).astype(np.float32)
Model = onnx.ModelProto


def tied() -> Model:
    """One weight, used twice."""
    products = [
        node("MatMul", "x", "w", to="h"),
        node("Relu", "h", to="r"),
        node("MatMul", "r", "w", to="y"),
    ]
    ends = [value("x", ["batch", WIDTH])], [value("y", ["batch", WIDTH])]
    return graphs.model(products, *ends, [constant("w", graphs.weights(WIDTH, WIDTH))])


def dynamic(folder: Path) -> Model:
    return quantizers.dynamic(tied(), folder)


def static(folder: Path) -> Model:
    return quantizers.static(tied(), folder)


def one_zero_point(folder: Path) -> Model:
    """Two weights, one zero point."""
    model = quantizers.dynamic(graphs.linear(WIDTH, WIDTH), folder)
    first = ""
    for each in model.graph.node:
        if each.op_type == "MatMulInteger":
            first = first or each.input[3]
            each.input[3] = first
    assert first
    return model


def constants(folder: Path) -> Model:
    """The weight in a node, as PyTorch exports it."""
    model = dynamic(folder)
    (weight,) = (t for t in model.graph.initializer if t.dims == [WIDTH, WIDTH])
    array = numpy_helper.to_array(weight)
    made = helper.make_node("Constant", [], [weight.name], value=numpy_helper.from_array(array))
    model.graph.initializer.remove(weight)
    model.graph.node.insert(0, made)
    return model


@pytest.mark.parametrize("build", [dynamic, static, one_zero_point, constants])
def test_exact_kernels_run_what_is_shared(build: Callable[[Path], Model], tmp_path: Path) -> None:
    path = graphs.save(build(tmp_path), tmp_path) / "model.onnx"
    exact = Session(path, SessionOptions(kernels=Kernels.EXACT))
    assert (exact.kernels, exact.kernels_note) == (Kernels.EXACT, "")
    # What the quantizer was given: 8 bits are off by little, saturated sums by half.
    float_path = tmp_path / "float.onnx"
    source = graphs.linear(WIDTH, WIDTH) if build is one_zero_point else tied()
    float_path.write_bytes(source.SerializeToString())
    want = Session(float_path, SessionOptions()).run((ROWS,))[0]
    assert np.abs(exact.run((ROWS,))[0] - want).max() < 0.05 * np.abs(want).max()
    assert (exact.copy(2).run((ROWS,))[0] == exact.run((ROWS,))[0]).all()


@pytest.mark.parametrize("build", [dynamic, static, one_zero_point, constants])
def test_a_copy_is_a_valid_model_with_the_same_answers(
    build: Callable[[Path], Model], tmp_path: Path
) -> None:
    path = graphs.save(build(tmp_path), tmp_path) / "model.onnx"
    content = unshared(memoryview(path.read_bytes()))
    assert content is not None
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(content)
    onnx.checker.check_model(copy, full_check=True)
    before, after = (
        Session(each, SessionOptions(kernels=Kernels.DEFAULT)) for each in (path, copy)
    )
    assert before.signature == after.signature
    assert (before.run((ROWS,))[0] == after.run((ROWS,))[0]).all()


def test_external_weights_are_found_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "1" / "model.onnx"
    path.parent.mkdir()
    onnx.save(dynamic(tmp_path), path, save_as_external_data=True, location="w", size_threshold=64)
    assert (path.parent / "w").is_file()
    assert Session(path, SessionOptions(kernels=Kernels.EXACT)).kernels is Kernels.EXACT


def test_where_nothing_is_shared_there_is_no_copy(tmp_path: Path) -> None:
    plain = quantizers.dynamic(graphs.linear(), tmp_path)
    assert unshared(memoryview(plain.SerializeToString())) is None
    tables = graphs.model(
        [node("Gather", "t", "x", to="a"), node("Gather", "t", "x", to="b")],
        [value("x", ["n"], TensorProto.INT64)],
        [value("a", ["n", 2], TensorProto.INT8), value("b", ["n", 2], TensorProto.INT8)],
        [constant("t", np.ones((4, 2), np.int8))],
    )
    assert unshared(memoryview(tables.SerializeToString())) is None


@pytest.mark.parametrize("content", [b"", b"\0\1", b"no model"])
def test_what_is_no_model_is_left_alone(content: bytes) -> None:
    assert unshared(memoryview(content)) is None
