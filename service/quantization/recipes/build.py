"""Applies a recipe to a model with ONNX Runtime's own tools. Runs in a worker."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from service.core.tensors import Array, Arrays
from service.engine.onnx_file.summary import summarise
from service.quantization.data.rows import groups, load_rows
from service.quantization.evaluate.guard import ROWS, check_answers
from service.quantization.graphs.fusion import Fusion, fusion_of
from service.quantization.graphs.parts import all_nodes, opset_of
from service.quantization.recipes.catalogue import (
    Dynamic,
    Imported,
    PerRow,
    Preparation,
    Recipe,
    Static,
)
from service.quantization.recipes.methods import apply, needed_opset
from service.quantization.recipes.per_row import note_on
from service.quantization.recipes.source import files_of

HISTOGRAM_ROWS = 16
"""The number of rows for calibrators that keep histograms."""


@dataclass(frozen=True, slots=True)
class WorkDir:
    """The files of a search."""

    folder: Path

    @property
    def calibration(self) -> Path:
        """The calibration rows."""
        return self.folder / "calibration.npz"

    @property
    def evaluation(self) -> Path:
        """The evaluation rows."""
        return self.folder / "evaluation.npz"

    @property
    def confirmation(self) -> Path:
        """The test rows."""
        return self.folder / "confirmation.npz"

    @property
    def answers(self) -> Path:
        """FP32's answers to the evaluation rows."""
        return self.folder / "answers.npz"

    def prepared(self, preparation: Preparation) -> Path:
        """Return the path of the model that recipes of this preparation start from."""
        return self.folder / f"{preparation}.onnx"


@dataclass(frozen=True, slots=True)
class Built:
    """Properties of a built file. ``compressed_bytes`` is its size after DEFLATE, as in a package
    or image; ``note`` names products with weights that the recipe left in float."""

    file_bytes: int
    compressed_bytes: int
    precision: str
    opset: int
    fusion: Fusion
    seconds: float
    note: str = ""


def prepare(source: Path, work_dir: WorkDir) -> str:
    """Write the models that recipes start from. Returns why pre-processing failed, or "".

    All nodes get unique names; weights are stored as initializers inside the file.
    """
    model = onnx.load(source)
    _name_nodes(model)
    # ONNX's tools trust this list of inner shapes, although it may be wrong after a rewrite.
    model.graph.ClearField("value_info")
    onnx.save(_inferred(model), work_dir.prepared("raw"))
    try:
        _pre_process(work_dir)
    except Exception as error:
        _mark(onnx.load(work_dir.prepared("raw")), work_dir.prepared("processed"))
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    return ""


def build(recipe: Recipe, work_dir: WorkDir, destination: Path) -> Built:
    """Apply a recipe, and check that the result is quantized and loads.

    Raises:
        Exception: any exception of the tools; it is reported as the candidate's failure.
    """
    started = perf_counter()
    note = build_file(recipe, work_dir, destination)
    if isinstance(recipe.method, Dynamic | Static) and not summarise(destination).precision.scheme:
        raise ValueError("the graph has no product that this recipe can quantize")
    if isinstance(recipe.method, PerRow):
        feeds = islice(iter(Feeds(work_dir, recipe).get_next, None), ROWS)
        check_answers(destination, work_dir.prepared(recipe.preparation), list(feeds))
    return replace(examine(destination, perf_counter() - started), note=note)


def build_file(recipe: Recipe, work_dir: WorkDir, destination: Path) -> str:
    """Apply a recipe. Returns a note on products with weights that it left in float, or "".

    Raises:
        Exception: any exception of the tools.
    """
    if isinstance(recipe.method, Imported):
        _copy(Path(recipe.method.path), destination)
        return ""
    model = _starting_model(recipe, work_dir)
    note = note_on(model) if isinstance(recipe.method, PerRow) else ""
    apply(recipe, model, Feeds(work_dir, recipe), destination)
    return note


def examine(path: Path, seconds: float = 0.0) -> Built:
    """Return the properties of a file that are known without running it.

    Raises:
        LoadFailed: ONNX Runtime does not load it.
    """
    fusion = fusion_of(path)
    model = onnx.load(path)
    data = b"".join(file.read_bytes() for file in files_of(path))
    return Built(
        len(data),
        len(zlib.compress(data, 1)),
        str(summarise(path).precision),
        opset_of(model),
        fusion,
        seconds,
    )


def _copy(given: Path, destination: Path) -> None:
    """Copy a model into one file that includes its external weights."""
    if len(files_of(given)) == 1:
        destination.write_bytes(given.read_bytes())
    else:
        onnx.save(onnx.load(given), destination)


class Feeds:
    """The calibration rows as a ``CalibrationDataReader`` of ONNX Runtime."""

    def __init__(self, work_dir: WorkDir, recipe: Recipe) -> None:
        self._work_dir = work_dir
        # Calibrators other than MinMax keep histograms of all tensors, which take minutes for a
        # hundred images.
        calm = getattr(recipe.method, "calibrator", "MinMax") == "MinMax"
        self._most = None if calm else HISTOGRAM_ROWS
        self._feeds: Iterator[dict[str, Array]] | None = None

    def cache(self, recipe: Recipe) -> Path:
        """Return the file of the calibrated ranges, shared by recipes with the same calibration."""
        method: Any = recipe.method
        ops = "-".join(method.ops) or "every"
        what = getattr(method, "calibrator", method.kind)
        name = f"{recipe.preparation}-{recipe.sparsity}-{what}-{ops}"
        return self._work_dir.folder / f"ranges-{zlib.crc32(name.encode()):08x}.json"

    def get_next(self) -> dict[str, Array] | None:
        """Return the next feed by input name, or None at the end."""
        if self._feeds is None:
            names = [i.name for i in _inputs(onnx.load(self._work_dir.prepared("raw")).graph)]
            rows = self._chosen(load_rows(self._work_dir.calibration).feeds)
            self._feeds = iter([dict(zip(names, row, strict=True)) for row in rows])
        return next(self._feeds, None)

    def _chosen(self, rows: Sequence[Arrays]) -> Sequence[Arrays]:
        """Return the rows to calibrate on."""
        if self._most is None:
            return rows
        # Calibrators with histograms stack all rows in one array, so all need the same shape.
        return [rows[place] for place in max(groups(rows), key=len)[: self._most]]


def _starting_model(recipe: Recipe, work_dir: WorkDir) -> onnx.ModelProto:
    """Return the prepared model, converted to the opset that the recipe's operators need."""
    model = onnx.load(work_dir.prepared(recipe.preparation))
    if recipe.sparsity:
        _prune(model, recipe.sparsity)
    # In a lower opset, ONNX Runtime's tools silently write a model that does not load.
    needed = needed_opset(recipe.method)
    if opset_of(model) < needed:
        model = _inferred(version_converter.convert_version(model, needed))
    return model


def _prune(model: onnx.ModelProto, sparsity: float) -> None:
    """Set the weights of smallest magnitude to 0 in each matrix or filter bank."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2 or values.size < 256:
            continue
        bound = np.quantile(np.abs(values), sparsity)
        kept = np.where(np.abs(values) <= bound, np.float32(0), values)
        tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))


def _pre_process(work_dir: WorkDir) -> None:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    raw, processed = work_dir.prepared("raw"), work_dir.prepared("processed")
    try:
        quant_pre_process(raw, processed)
    except Exception:  # symbolic shapes fail on many graphs, and sympy may be missing
        quant_pre_process(raw, processed, skip_symbolic_shape=True)
    model = onnx.load(processed)
    _name_nodes(model)
    _mark(model, processed)


def _mark(model: onnx.ModelProto, path: Path) -> None:
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    onnx.save(model, path)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model)
    except Exception:  # custom operators: continue without inferred shapes
        return model


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give all nodes unique names, including those in branches."""
    # Recipes leave nodes in float by name.
    taken: set[str] = set()
    for place, node in enumerate(all_nodes(model.graph)):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}.{place}"
        taken.add(node.name)


def _inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constants]
