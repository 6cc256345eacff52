"""Per-row dynamic INT8: graphs are rewritten, run by ONNX Runtime, and compared with numpy."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from service.core.tensors import Array
from service.engine.cpu.kernels import Kernels, choose
from service.engine.onnx_file.snapshot import ModelFile
from service.engine.onnx_file.weights import weights_fit
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.quantization.recipes.catalogue import PerRow
from service.quantization.recipes.per_row import FULL, Rewriting, activations_of, note_on, rewrite
from service.quantization.recipes.smoothing import factors, peaks_of

WIDTH, HIDDEN = 256, 160
NEAR = 0.04
FORMS = [PerRow(asymmetric=False), PerRow(asymmetric=True)]


def network(
    opset: int = 17, ir_version: int = 8, relu: bool = True, **gemm: float | int
) -> onnx.ModelProto:
    """Rows [n, 256] to [n, 160]: a Gemm with a bias, Relu if wanted, and a MatMul."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 16
    constants = {
        "w1": np.ascontiguousarray(first.T) if gemm.get("transB") else first,
        "b1": rng.standard_normal(WIDTH).astype(np.float32),
        "w2": rng.standard_normal((WIDTH, HIDDEN)).astype(np.float32) / 16,
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first", **gemm),
        helper.make_node("Relu" if relu else "LeakyRelu", ["h"], ["r"], name="bend"),
        helper.make_node("MatMul", ["r", "w2"], ["y"], name="second"),
    ]
    return model_of(nodes, constants, opset, ir_version)


def model_of(
    nodes: list[onnx.NodeProto], constants: dict[str, Array], opset: int = 17, ir_version: int = 8
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    if ir_version < 4:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "m"])
    graph = helper.make_graph(nodes, "g", inputs, [output], tensors)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def run(model: onnx.ModelProto, x: Array) -> Array:
    """Run a graph as it is served: with kernels that do not saturate on this CPU."""
    with TemporaryDirectory() as folder:
        onnx.save(model, Path(folder, "model.onnx"))
        session = Session(Path(folder, "model.onnx"), SessionOptions(1))
        return np.array(session.run((x,))[0])


def rewritten(
    model: onnx.ModelProto, method: PerRow, factors: dict[str, Array] | None = None,
    float_nodes: tuple[str, ...] = (), fused: bool = True,
) -> onnx.ModelProto:  # fmt: skip
    made = onnx.ModelProto()
    made.CopyFrom(model)
    rewrite(made, Rewriting(method, factors or {}, frozenset(float_nodes), fused))
    onnx.checker.check_model(made)
    return made


def rows(count: int, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, WIDTH)) * np.exp(rng.standard_normal((count, 1)) * 3)
    return x.astype(np.float32)


def error(want: Array, got: Array) -> float:
    """Return the error of the worst row: RMS of the difference, relative to the RMS of the row."""
    spread = np.sqrt(np.square(want).mean(axis=-1))
    return float((np.sqrt(np.square(want - got).mean(axis=-1)) / spread).max())


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
@pytest.mark.parametrize("method", FORMS)
def test_answers_are_accurate_and_independent_of_other_rows(
    method: PerRow, opset: int, fused: bool, relu: bool
) -> None:
    model, x = network(opset, relu=relu), rows(12)
    made = rewritten(model, method, fused=fused)
    operators = {node.op_type for node in made.graph.node}
    assert ("MatMulIntegerToFloat" if fused else "MatMulInteger") in operators
    assert not operators & {"MatMul", "Gemm"}
    together = run(made, x)
    assert error(run(model, x), together) < NEAR
    alone = np.concatenate([run(made, row[None]) for row in x])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-5 * np.abs(x).max())


@pytest.mark.parametrize("method", FORMS)
def test_with_seven_bits_pairs_of_products_fit_16_bits(method: PerRow, tmp_path: Path) -> None:
    for reduced in (True, False):
        made = rewritten(network(), PerRow(method.asymmetric, reduce_range=reduced))
        path = tmp_path / f"{reduced}.onnx"
        onnx.save(made, path)
        fits = weights_fit(ModelFile(path))
        assert fits is reduced
        # On a CPU whose default kernels saturate, weights of eight bits get the exact ones.
        assert choose(None, True, fits) is (Kernels.DEFAULT if reduced else Kernels.EXACT)
        assert error(run(network(), rows(4)), run(made, rows(4))) < 0.03


def test_sums_that_would_saturate_are_correct() -> None:
    weights = {"w": np.ones((WIDTH, HIDDEN), np.float32)}
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], weights)
    x = np.abs(rows(3))
    reduced = run(rewritten(model, PerRow(reduce_range=True)), x)
    np.testing.assert_allclose(reduced, run(model, x), rtol=0.01)


@pytest.mark.parametrize("gemm", [{"transB": 1}, {"alpha": 0.5, "beta": 3.0}, {"beta": 0.0}])
@pytest.mark.parametrize("method", FORMS)
def test_gemm_keeps_its_attributes(method: PerRow, gemm: dict[str, float]) -> None:
    model, x = network(**gemm), rows(4)
    assert error(run(model, x), run(rewritten(model, method), x)) < NEAR


def test_a_transposed_activation_and_a_computed_weight_stay_in_float() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "x"], ["s"], transA=1, name="gram"),
        helper.make_node("Gemm", ["s", "w"], ["y"], name="last"),
    ]
    model = model_of(nodes, {"w": np.ones((WIDTH, HIDDEN), np.float32)})
    made = rewritten(model, PerRow())
    assert [n.op_type for n in made.graph.node].count("Gemm") == 1
    assert note_on(model) == "left in float: gram has a weight that is not constant"


def test_a_weight_that_requests_may_override_stays_in_float() -> None:
    model = network()
    model.graph.input.append(helper.make_tensor_value_info("w1", TensorProto.FLOAT, [WIDTH, WIDTH]))
    made = rewritten(model, PerRow())
    assert [n.op_type for n in made.graph.node].count("Gemm") == 1
    # Before IR version 4 all weights were listed as inputs.
    old = rewritten(network(11, ir_version=3), PerRow())
    assert not any(node.op_type == "Gemm" for node in old.graph.node)
    assert [value.name for value in old.graph.input] == ["x"]
    assert error(run(network(11), rows(4)), run(old, rows(4))) < NEAR


@pytest.mark.parametrize("method", FORMS)
def test_a_weight_that_two_products_share_is_stored_once(method: PerRow) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("LeakyRelu", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 16}
    model = model_of(nodes, weights)
    made = rewritten(model, method)
    stored = [t for t in made.graph.initializer if t.data_type == TensorProto.INT8]
    assert [list(t.dims) for t in stored] == [[WIDTH, WIDTH]]
    assert error(run(model, rows(4)), run(made, rows(4))) < NEAR


def test_a_weight_used_by_another_operator_is_kept_too() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceSum", ["w"], ["sum"], keepdims=0),
        helper.make_node("Add", ["h", "sum"], ["y"]),
    ]
    weights = {"w": np.ones((WIDTH, WIDTH), np.float32)}
    model = model_of(nodes, weights)
    assert error(run(model, rows(4)), run(rewritten(model, PerRow()), rows(4))) < NEAR


@pytest.mark.parametrize("method", FORMS)
def test_small_products_and_named_ones_stay_in_float(method: PerRow) -> None:
    made = rewritten(network(), method, float_nodes=("first",))
    assert [n.op_type for n in made.graph.node].count("Gemm") == 1
    weights = {"w": np.ones((WIDTH, 8), np.float32)}
    small = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], weights)
    assert rewrite(small, Rewriting(method, {}, frozenset())) == 0


def test_products_in_branches_are_rewritten() -> None:
    def branch(name: str, value: float) -> onnx.GraphProto:
        weight = numpy_helper.from_array(np.full((WIDTH, HIDDEN), value, np.float32), f"w{name}")
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "m"])
        node = helper.make_node("MatMul", ["x", f"w{name}"], [name])
        return helper.make_graph([node], name, [], [output], [weight])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "limit"], ["more"]),
        helper.make_node(
            "If", ["more"], ["y"], then_branch=branch("a", 1), else_branch=branch("b", 2)
        ),
    ]
    model = model_of(nodes, {"limit": np.float32(0)[...]})
    made = rewritten(model, PerRow())
    assert b"MatMulIntegerToFloat" in made.SerializeToString()
    assert made.ByteSize() < 0.3 * model.ByteSize()
    for sign in (1, -1):
        x = (sign * np.abs(rows(3))).astype(np.float32)
        np.testing.assert_allclose(run(made, x), run(model, x), rtol=0.02)


@pytest.mark.parametrize("method", FORMS)
def test_tables_keep_a_scale_for_each_row(method: PerRow) -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((64, WIDTH)) * np.exp(rng.standard_normal((64, 1)) * 3)
    nodes = [
        helper.make_node("ArgMax", ["x"], ["place"], axis=1, keepdims=0),
        helper.make_node("Mod", ["place", "count"], ["id"]),
        helper.make_node("Gather", ["table", "id"], ["row"]),
        helper.make_node("MatMul", ["row", "w"], ["y"]),
    ]
    weights = rng.standard_normal((WIDTH, HIDDEN)).astype(np.float32)
    constants = {"table": table.astype(np.float32), "w": weights, "count": np.array(64)}
    model = model_of(nodes, constants)
    made = rewritten(model, method)
    assert len(made.SerializeToString()) < 0.35 * len(model.SerializeToString())
    assert error(run(model, rows(16)), run(made, rows(16))) < NEAR


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("method", FORMS)
def test_zero_constant_and_tiny_rows_are_accurate(method: PerRow, relu: bool) -> None:
    model = network(relu=relu)
    made = rewritten(model, method)
    x = np.zeros((4, WIDTH), np.float32)
    x[1], x[2], x[3] = 3.0, 1e-42, rows(1)[0]
    want = run(model, x)
    np.testing.assert_allclose(run(made, x), want, atol=0.02 * np.abs(want).max())


@pytest.mark.parametrize("method", FORMS)
def test_a_nan_affects_only_its_row(method: PerRow) -> None:
    made = rewritten(network(), method)
    x = rows(3)
    clean = run(made, x)
    x[1, 7] = np.nan
    got = run(made, x)
    assert np.isnan(got[1]).all()
    np.testing.assert_array_equal(got[[0, 2]], clean[[0, 2]])


def test_factors_reduce_the_rounding_error_only() -> None:
    model = network()
    x = rows(8)
    x[:, 3] *= 300  # an outlier, which sets the scale of its row
    found = factors(peaks_of(model, ["x"], [{"x": x}])["x"], activations_of(model)["x"])
    assert found is not None
    assert found.argmin() == 3
    for method in FORMS:
        plain = error(run(model, x), run(rewritten(model, method), x))
        even = error(run(model, x), run(rewritten(model, method, {"x": found}), x))
        assert even < plain / 2


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    columns=st.integers(1, 40),
    asymmetric=st.booleans(),
    fused=st.booleans(),
    seed=st.integers(0, 9),
)
def test_any_shape_gives_the_same_result_as_numpy(
    shape: list[int], columns: int, asymmetric: bool, fused: bool, seed: int
) -> None:
    width = 32_768 // columns + 1
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((width, columns)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*"abc"[: len(shape)], width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * (len(shape) + 1))],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = rewritten(model, PerRow(asymmetric), fused=fused)
    x = rng.standard_normal((*shape, width)).astype(np.float32)
    scale = np.abs(weight).max(axis=0) / FULL
    w8 = np.rint(weight / scale)
    if asymmetric:
        low = x.min(axis=-1, keepdims=True)
        step = (x.max(axis=-1, keepdims=True) - low) / 255
    else:
        low = 0.0
        step = np.abs(x).max(axis=-1, keepdims=True) / 127
    x8 = np.rint((x - low) / step)
    want = (x8 * step + low).astype(np.float64) @ (w8 * scale).astype(np.float64)
    got = run(made, x)
    # A value just between two steps may be rounded either way.
    flips = step.max() * scale.max() * 127 * 3
    np.testing.assert_allclose(got, want, atol=float(flips) + 1e-3 * np.abs(want).max())
