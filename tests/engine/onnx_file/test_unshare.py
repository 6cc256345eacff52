"""Models whose products share weights or zero points, on which the exact kernels fail."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.engine.cpu.kernels import Kernels
from service.engine.onnx_file.unshare import unshared
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
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


def saved(model: onnx.ModelProto, folder: Path) -> memoryview:
    """The bytes of a model's file."""
    return memoryview((graphs.save(model, folder) / "model.onnx").read_bytes())


@pytest.mark.parametrize("build", [dynamic, static, one_zero_point, constants])
def test_exact_kernels_run_shared_weights_and_zero_points(
    build: Callable[[Path], Model], tmp_path: Path
) -> None:
    path = graphs.save(build(tmp_path), tmp_path) / "model.onnx"
    exact = Session(path, SessionOptions(kernels=Kernels.EXACT))
    assert (exact.kernels, exact.kernels_note) == (Kernels.EXACT, "")
    # Compared with the float model: 8 bits differ by little, saturated sums by half.
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


def test_external_weights_are_found_for_a_model_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "1" / "model.onnx"
    path.parent.mkdir()
    onnx.save(dynamic(tmp_path), path, save_as_external_data=True, location="w", size_threshold=64)
    assert (path.parent / "w").is_file()
    assert Session(path, SessionOptions(kernels=Kernels.EXACT)).kernels is Kernels.EXACT


def test_models_without_shared_weights_are_not_copied(tmp_path: Path) -> None:
    plain = quantizers.dynamic(graphs.linear(), tmp_path)
    assert unshared(memoryview(plain.SerializeToString())) is None
    tables = graphs.model(
        [node("Gather", "t", "x", to="a"), node("Gather", "t", "x", to="b")],
        [value("x", ["n"], TensorProto.INT64)],
        [value("a", ["n", 2], TensorProto.INT8), value("b", ["n", 2], TensorProto.INT8)],
        [constant("t", np.ones((4, 2), np.int8))],
    )
    assert unshared(memoryview(tables.SerializeToString())) is None


def branches(inner: onnx.NodeProto, *constants: TensorProto) -> Model:
    """Two branches, both with ``inner``, which uses constants of the outer graph."""
    both = {}
    for name in ("then_branch", "else_branch"):
        nodes = [inner, helper.make_node("Cast", ["p"], [f"{name}_y"], to=TensorProto.FLOAT)]
        both[name] = helper.make_graph(nodes, name, [], [value(f"{name}_y", None)])
    return graphs.model(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            helper.make_node("If", ["flag"], ["sums"], **both),
            node("Mul", "sums", "s", to="y"),
        ],
        [value("x", ["batch", WIDTH]), value("flag", [], TensorProto.BOOL)],
        [value("y", ["batch", WIDTH])],
        constants,
    )


INNER = helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["p"])
WEIGHT = numpy_helper.from_array(
    np.random.default_rng(0).integers(-127, 128, (WIDTH, WIDTH)).astype(np.int8), "w"
)
ZERO = numpy_helper.from_array(np.int8(0), "wz")


def test_a_branch_gets_copies_of_the_constants_of_the_outer_graph(tmp_path: Path) -> None:
    path = graphs.save(branches(INNER, WEIGHT, ZERO), tmp_path) / "model.onnx"
    content = unshared(memoryview(path.read_bytes()))
    assert content is not None
    (tmp_path / "copy.onnx").write_bytes(content)
    onnx.checker.check_model(tmp_path / "copy.onnx", full_check=True)
    for attribute in onnx.load_from_string(content).graph.node[1].attribute:
        (product,) = (n for n in attribute.g.node if n.op_type == "MatMulInteger")
        assert {product.input[1], product.input[3]} == {t.name for t in attribute.g.initializer}
    exact = Session(path, SessionOptions(kernels=Kernels.EXACT))
    assert (exact.kernels, exact.kernels_note) == (Kernels.EXACT, "")
    rows, weight = np.abs(ROWS), numpy_helper.to_array(WEIGHT).astype(np.float32)
    for flag in (True, False):
        answer = exact.run((rows, np.array(flag)))[0]
        assert np.abs(answer - rows @ weight).max() < 0.05 * np.abs(rows @ weight).max()


def test_a_branch_keeps_its_own_constants(tmp_path: Path) -> None:
    model = branches(INNER)
    for attribute in model.graph.node[1].attribute:
        attribute.g.initializer.extend([WEIGHT, ZERO])
    assert unshared(saved(model, tmp_path)) is None


def test_a_branch_inside_a_branch_gets_the_nearest_constant(tmp_path: Path) -> None:
    model = branches(INNER, WEIGHT, ZERO)
    (choice,) = (n for n in model.graph.node if n.op_type == "If")
    near = numpy_helper.from_array(numpy_helper.to_array(WEIGHT) // 2, "w")
    outer = {
        name: helper.make_graph([choice], name, [], [value("sums", None)], weights)
        for name, weights in (("then_branch", []), ("else_branch", [near]))
    }
    choice_of_both = helper.make_node("If", ["flag"], ["all"], **outer)
    model.graph.node[1].CopyFrom(choice_of_both)
    model.graph.node[2].input[0] = "all"
    content = unshared(saved(model, tmp_path))
    assert content is not None
    found = onnx.load_from_string(content).graph.node[1].attribute
    for attribute in found:
        weight = near if attribute.name == "else_branch" else WEIGHT
        for inner in attribute.g.node[0].attribute:
            kept = {t.name: t.raw_data for t in inner.g.initializer}
            assert kept[inner.g.node[0].input[1]] == weight.raw_data


def test_a_default_that_a_request_may_replace_is_not_copied(tmp_path: Path) -> None:
    model = branches(INNER, WEIGHT, ZERO)
    for name, shape in (("w", [WIDTH, WIDTH]), ("wz", [])):
        model.graph.input.append(value(name, shape, TensorProto.INT8))
    assert unshared(saved(model, tmp_path)) is None
    model.ir_version = 3
    assert unshared(saved(model, tmp_path)) is not None


@pytest.mark.parametrize("content", [b"", b"\0\1", b"no model"])
def test_bytes_that_are_not_a_model_are_ignored(content: bytes) -> None:
    assert unshared(memoryview(content)) is None
