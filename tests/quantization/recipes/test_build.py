"""Recipes applied to real graphs, run by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from service.commands.inspect import as_text
from service.engine.cpu.kernels import Kernels, kernels_for
from service.engine.onnx_file.snapshot import ModelFile
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.quantization.data.rows import Rows, save_rows
from service.quantization.graphs.macs import multiply_adds
from service.quantization.inspection import inspect
from service.quantization.recipes.build import WorkDir, build, examine, prepare
from service.quantization.recipes.catalogue import (
    PRODUCTS,
    Dynamic,
    Half,
    Imported,
    PerRow,
    Recipe,
    Static,
    WeightOnly,
    mixed,
)
from service.quantization.recipes.row_kernels import takes_row_scales
from service.quantization.search.sensitivity import parts_of, sensitivity
from tests.engine import classifiers
from tests.quantization.recipes.test_per_row import NEAR, error, network, rows, run
from tests.quantization.tiny_models import branching, conv_net, recurrent, save


@pytest.fixture
def work_dir(model: Path, tmp_path: Path) -> WorkDir:
    """A prepared model with rows to calibrate on."""
    found = WorkDir(tmp_path)
    images = np.random.default_rng(0).random((8, 1, 8, 8), np.float32)
    save_rows(Rows(tuple((image[None],) for image in images)), found.calibration)
    assert prepare(model, found) == ""
    return found


def test_a_static_recipe_runs_wholly_in_integers(work_dir: WorkDir) -> None:
    built = build(Recipe("static", Static()), work_dir, work_dir.folder / "out.onnx")
    assert (built.fusion.integer, built.fusion.unfused, built.fusion.ratio) == (3, 0, 1.0)
    assert built.precision == "INT8 QDQ"


def test_a_node_left_in_float_stays_in_float(work_dir: WorkDir) -> None:
    name = next(n.name for n in onnx.load(work_dir.prepared("processed")).graph.node)
    recipe = Recipe("mixed", Static(), float_nodes=(name,))
    built = build(recipe, work_dir, work_dir.folder / "out.onnx")
    assert built.fusion.integer == 2


def test_the_same_recipe_gives_the_same_file(work_dir: WorkDir) -> None:
    paths = [work_dir.folder / f"{i}.onnx" for i in range(2)]
    for path in paths:
        build(Recipe("static", Static()), work_dir, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("method", [Dynamic(), Half(), WeightOnly(8, 32)])
def test_graphs_of_other_methods_build_and_load(work_dir: WorkDir, method: object) -> None:
    built = build(Recipe("other", method), work_dir, work_dir.folder / "out.onnx")  # type: ignore[arg-type]
    assert built.file_bytes > 0


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("method", [Dynamic(), Static(), Half()])
def test_a_classifier_with_zipmap_keeps_its_classes(
    method: Dynamic | Static | Half, opset: int, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(classifiers.network(["cat", "dog", "bird"], opset).SerializeToString())
    work_dir = WorkDir(tmp_path)
    x = np.random.default_rng(0).standard_normal((8, classifiers.WIDTH)).astype(np.float32)
    save_rows(Rows(tuple((row[None],) for row in x)), work_dir.calibration)
    assert prepare(path, work_dir) == ""
    built = build(Recipe("it", method), work_dir, tmp_path / "out.onnx")
    assert built.precision.startswith("FP16" if isinstance(method, Half) else "INT8")
    given, made = (Session(each, SessionOptions()) for each in (path, tmp_path / "out.onnx"))
    assert made.labels == given.labels == {"probabilities": ("cat", "dog", "bird")}
    np.testing.assert_allclose(made.run((x,))[1], given.run((x,))[1], atol=0.1)


def test_failures_of_a_tool_are_errors_with_a_reason(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    model = save(tmp_path / "m.onnx", nodes, {"x": ["n", 2]}, {"y": ["n", 2]}, {})
    work_dir = WorkDir(tmp_path)
    prepare(model, work_dir)
    with pytest.raises(ValueError, match="no MatMul with constant weights"):
        build(Recipe("weight-only", WeightOnly()), work_dir, tmp_path / "out.onnx")


@pytest.mark.parametrize("method", [Dynamic(), Static(ops=PRODUCTS)])
def test_a_recipe_that_changes_nothing_is_no_candidate(tmp_path: Path, method: object) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    model = save(tmp_path / "m.onnx", nodes, {"x": ["n", 2]}, {"y": ["n", 2]}, {})
    work_dir = WorkDir(tmp_path)
    prepare(model, work_dir)
    save_rows(Rows((((np.ones((1, 2), np.float32)),),) * 2), work_dir.calibration)
    with pytest.raises(ValueError, match="no product that this recipe can quantize"):
        build(Recipe("nothing", method), work_dir, tmp_path / "out.onnx")  # type: ignore[arg-type]


def test_weights_beside_the_file_are_read_counted_and_moved_into_the_result(
    model: Path, tmp_path: Path
) -> None:
    whole = examine(model)
    apart = tmp_path / "apart/given.onnx"
    apart.parent.mkdir()
    onnx.save(onnx.load(model), apart, save_as_external_data=True, size_threshold=0)
    assert examine(apart).compressed_bytes > 0.9 * whole.compressed_bytes
    assert inspect(apart)["file_bytes"] > 0.9 * whole.file_bytes
    work_dir = WorkDir(tmp_path)
    built = build(Recipe("given", Imported(str(apart))), work_dir, tmp_path / "out.onnx")
    assert built.file_bytes == pytest.approx(whole.file_bytes, rel=0.05)


def test_pruned_weights_compress_better_in_a_file_of_the_same_size(work_dir: WorkDir) -> None:
    whole = build(Recipe("a", Static()), work_dir, work_dir.folder / "a.onnx")
    thin = build(Recipe("b", Static(), sparsity=0.6), work_dir, work_dir.folder / "b.onnx")
    assert abs(thin.file_bytes - whole.file_bytes) < 16
    assert thin.compressed_bytes < whole.compressed_bytes


def test_sensitivity_is_measured_part_by_part(work_dir: WorkDir) -> None:
    recipe = Recipe("static", Static())
    parts = parts_of(recipe, work_dir)
    assert len(parts) == 3
    noise = [sensitivity(recipe, parts, index, work_dir) for index in range(3)]
    assert all(0 < value < 0.5 for value in noise)


def test_inspect_reports_precision_scales_and_work(work_dir: WorkDir) -> None:
    path = work_dir.folder / "out.onnx"
    build(Recipe("static", Static()), work_dir, path)
    found = inspect(path)
    assert found["fusion"]["ratio"] == 1.0
    assert found["kernels"] == kernels_for(ModelFile(path)).value
    assert inspect(path, Kernels.EXACT)["kernels"] == "exact"
    # 8x8 values of 8 channels from 9 pixels, 16 from 8 x 9, and 16 to 3.
    assert found["multiply_adds"] == 64 * 8 * 9 + 64 * 16 * 72 + 48
    weights = [line for line in found["tensors"] if line["datatype"] == "int8"]
    assert len(weights) == 3
    assert all(0 < line["used"] <= 1 for line in weights)
    assert "3 in integers, 0 quantized but run in float" in as_text(found)


def test_inspect_reads_fp32_too(tmp_path: Path) -> None:
    found = inspect(conv_net(tmp_path / "m.onnx"))
    assert (found["precision"], found["tensors"]) == ("FP32", [])
    assert found["here"][0].startswith("FP32: not quantized")


def work_of(operator: str, *shapes: tuple[int, ...], **attributes: int) -> int | None:
    """Return the multiply-adds of one node that reads x and constants of these shapes."""
    constants = {f"c{i}": np.ones(shape, np.float32) for i, shape in enumerate(shapes[1:])}
    node = helper.make_node(operator, ["x", *constants], ["y"], **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, shapes[0])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return multiply_adds(model, {"x": np.ones(shapes[0], np.float32)})[0]


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_work_of_a_recurrence_counts_all_weights_in_each_step(operator: str, gates: int) -> None:
    weights = (1, gates * 4, 3), (1, gates * 4, 4)
    assert work_of(operator, (5, 1, 3), *weights, hidden_size=4) == 5 * gates * 4 * (3 + 4)


def test_work_of_a_transposed_convolution_is_per_input_value() -> None:
    assert work_of("ConvTranspose", (1, 2, 6, 6), (2, 8, 3, 3)) == 72 * 72


def test_work_in_a_branch_is_unknown(tmp_path: Path) -> None:
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], [name])], name, [],
            [helper.make_tensor_value_info(name, 1, ["n", 2])],
        )
        for name in ("then", "else")
    }  # fmt: skip
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["condition"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["condition"], ["y"], **branches),
    ]
    weights = {"w": np.ones((2, 2), np.float32)}
    path = save(tmp_path / "m.onnx", nodes, {"x": ["n", 2]}, {"y": ["n", 2]}, weights)
    assert "without 2 products whose work is unknown" in as_text(inspect(path))


def test_a_quantized_recurrence_is_shown_with_its_weights_and_work(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((1, 32, 6)).astype(np.float32),
        "r": rng.standard_normal((1, 32, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r"], ["", "y"], hidden_size=8),
        helper.make_node("Squeeze", ["y", "first"], ["state"]),
    ]
    constants["first"] = np.zeros(1, np.int64)
    shapes = {"x": ["n", 5, 6]}, {"state": ["n", 8]}
    model = save(tmp_path / "m.onnx", nodes, *shapes, constants)
    work_dir = WorkDir(tmp_path)
    prepare(model, work_dir)
    assert build(Recipe("dynamic", Dynamic()), work_dir, tmp_path / "out.onnx").fusion.integer == 1
    found = inspect(tmp_path / "out.onnx")
    assert [line["values"] for line in found["tensors"]] == [32 * 6, 32 * 8]
    assert inspect(model)["multiply_adds"] == found["multiply_adds"] == 5 * 32 * (6 + 8)


def test_products_in_branches_are_quantized_with_the_same_answers(tmp_path: Path) -> None:
    work_dir = WorkDir(tmp_path)
    model = branching(tmp_path / "branching.onnx")
    assert prepare(model, work_dir) == ""
    recipe = Recipe("dynamic", Dynamic())
    assert build(recipe, work_dir, tmp_path / "out.onnx").fusion.integer == 2
    rows = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    for rate in (-1, 1):
        feed = (rows, np.array(rate, np.float32))
        want, got = (
            Session(path, SessionOptions(1)).run(feed)[0] for path in (model, tmp_path / "out.onnx")
        )
        assert np.abs(want - got).max() < 0.05 * np.abs(want).max()
    parts = parts_of(recipe, work_dir)
    assert len(parts) == 2
    assert build(mixed(recipe, parts[0]), work_dir, tmp_path / "half.onnx").fusion.integer == 1


def test_histograms_are_collected_from_runs_of_one_length(tmp_path: Path) -> None:
    work_dir = WorkDir(tmp_path)
    lengths = [3, 5, 3, 4, 3, 5]
    feeds = tuple(
        (
            np.ones((1, n, 8), np.float32),
            np.zeros((2, 1, 16), np.float32),
            np.ones((), np.float32),
        )
        for n in lengths
    )
    save_rows(Rows(feeds, by_run=True), work_dir.calibration)
    assert prepare(recurrent(tmp_path / "lstm.onnx"), work_dir) == ""
    for calibrator in ("MinMax", "Percentile"):
        method = Static(ops=PRODUCTS, calibrator=calibrator)
        assert build(Recipe("s", method), work_dir, tmp_path / "out.onnx").fusion.integer == 1


def test_inspect_names_a_recurrence_whose_first_output_is_not_used(tmp_path: Path) -> None:
    found = inspect(recurrent(tmp_path / "lstm.onnx"))
    assert [(node["name"], node["operator"]) for node in found["products"]][0] == ("hn", "LSTM")
    assert found["multiply_adds"] > 0


@pytest.mark.parametrize("block", [32, 64, 256])
def test_gemm_weights_are_quantized_in_blocks_too(block: int, tmp_path: Path) -> None:
    path, x = tmp_path / "m.onnx", rows(6)
    onnx.save(network(transB=1), path)
    work_dir = WorkDir(tmp_path)
    save_rows(Rows(tuple((row[None],) for row in x)), work_dir.calibration)
    assert prepare(path, work_dir) == ""
    build(Recipe("it", WeightOnly(8, block)), work_dir, tmp_path / "out.onnx")
    made = onnx.load(tmp_path / "out.onnx")
    assert [n.op_type for n in made.graph.node].count("MatMulNBits") == 2
    found = inspect(tmp_path / "out.onnx")
    assert {t["granularity"] for t in found["tensors"]} == {f"per block of {block}"}
    assert error(run(network(transB=1), x), run(made, x)) < NEAR


@pytest.mark.parametrize("smoothing", [True, False])
def test_a_per_row_recipe_is_built_and_inspected(smoothing: bool, tmp_path: Path) -> None:
    path, x = tmp_path / "m.onnx", rows(8)
    onnx.save(network(), path, save_as_external_data=True, location="w", size_threshold=0)
    work_dir = WorkDir(tmp_path)
    save_rows(Rows(tuple((row[None],) for row in x)), work_dir.calibration)
    assert prepare(path, work_dir) == ""
    recipe = Recipe("it", PerRow(smoothing=smoothing))
    built = build(recipe, work_dir, tmp_path / "out.onnx")
    assert (built.precision, built.fusion.integer) == ("INT8 per-row", 2)
    assert error(run(network(), x), run(onnx.load(tmp_path / "out.onnx"), x)) < NEAR
    found = inspect(tmp_path / "out.onnx")
    scaled = {(t["datatype"], t["granularity"]) for t in found["tensors"]}
    fused = {("int8", "per channel"), ("uint8", "per row, at run time")}
    assert scaled == (fused if takes_row_scales() else set())
    assert any("do not influence each other" in line for line in found["here"])
    parts = parts_of(recipe, work_dir)
    assert len(parts) == 2
    assert all(0 < sensitivity(recipe, parts, index, work_dir) < 0.1 for index in range(2))
