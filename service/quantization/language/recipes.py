"""Recipes for language models: weights in blocks of few bits, and INT8 with one scale per row.

``quantize_dynamic`` is not a recipe: it uses one scale for all rows of a run, so answers would
depend on the other requests of a batch.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from service.engine.generation.genai_config import read_config
from service.quantization.language.tables import own_tables, tables_in_eight_bits
from service.quantization.language.wide import wide_nodes
from service.quantization.recipes.catalogue import PerRow, Recipe, WeightOnly
from service.quantization.recipes.methods import in_blocks
from service.quantization.recipes.outliers import outliers
from service.quantization.recipes.per_row import Rewriting, rewrite
from service.quantization.recipes.row_kernels import takes_row_scales

MODEL, DATA = "model.onnx", "model.onnx.data"
K_QUANT = WeightOnly(bits=4, block=32, symmetric=False, algorithm="k_quant")


def recipes(saturates: bool) -> tuple[Recipe, ...]:
    """Return all recipes. ``saturates`` is True if U8S8 sums of ONNX Runtime's default kernels
    saturate on this machine: 8-bit weights run on its exact kernels then, which are slower, and
    7-bit weights on the default ones, with less accuracy."""
    reduced = (
        Recipe("per-row INT8, 7-bit weights", PerRow(reduce_range=True)),
        Recipe(
            "per-row INT8, symmetric, 7-bit weights", PerRow(asymmetric=False, reduce_range=True)
        ),
    )
    return (
        Recipe("per-row INT8", PerRow()),
        Recipe("per-row INT8, symmetric", PerRow(asymmetric=False)),
        *(reduced if saturates else ()),
        Recipe("INT8 weights, blocks of 32", WeightOnly(bits=8, block=32)),
        Recipe("INT4 weights, k_quant, mixed with INT8", replace(K_QUANT, mixed=True)),
        Recipe("INT4 weights, k_quant", K_QUANT),
        Recipe("INT4 weights, RTN", WeightOnly(bits=4, block=32)),
    )


def build(recipe: Recipe, source: Path, target: Path, texts: Sequence[Sequence[int]]) -> Recipe:
    """Build a version's folder from the folder of FP32. Returns the recipe with the names of the
    nodes that stay in float or keep eight bits. ``texts`` are the tokens that determine the nodes
    in float.

    Raises:
        Exception: any exception of the tools; it is reported as the candidate's failure.
    """
    model, method = onnx.load(source / MODEL), recipe.method
    target.mkdir(parents=True)
    own_tables(model)
    if isinstance(method, WeightOnly):
        if method.mixed:
            recipe = replace(recipe, wide_nodes=wide_nodes(model, read_config(source)))
        model = in_blocks(method, recipe, model)
        tables_in_eight_bits(model)
    else:
        assert isinstance(method, PerRow), "the recipe is not one of `recipes`. This is a bug."
        left = outliers(model, read_config(source), texts, target)
        rewriting = Rewriting(method, {}, frozenset(left), takes_row_scales())
        recipe = replace(recipe, float_nodes=left)
        if not rewrite(model, rewriting):
            raise ValueError("no product with constant weights is large enough to benefit")
    onnx.save(model, target / MODEL, save_as_external_data=True, location=DATA)
    for file in beside(source):
        shutil.copy(file, target)
    return recipe


def beside(folder: Path) -> list[Path]:
    """Return the files of a version other than its graph and weights."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and file.suffix in (".json", ".jinja") and file.name != "report.json"
    )
