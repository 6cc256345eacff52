"""Recipes on the tiny model: folders that load, close to FP32."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from service.config.model import ModelConfig
from service.core.language_gate import language_checks
from service.engine.generation.language_model import LanguageModel
from service.engine.generation.teacher import force
from service.engine.loading.loader import load
from service.quantization.language.recipes import build, recipes
from service.quantization.recipes.catalogue import Recipe
from tests.engine.generation import tiny_llama

TEXTS = np.random.default_rng(0).integers(3, tiny_llama.VOCABULARY, (8, 30))
OPERATORS = {"per-row": "MatMulIntegerToFloat", "weight-only": "MatMulNBits"}


def language(folder: Path) -> LanguageModel:
    found = load(folder, ModelConfig(), 1).language
    assert found is not None
    return found


def test_weights_of_eight_bits_are_tried_on_every_processor() -> None:
    everywhere = recipes(saturates=False)
    assert set(everywhere) < set(recipes(saturates=True))
    assert not any("7-bit" in each.name for each in everywhere)


@pytest.mark.parametrize("recipe", recipes(saturates=True), ids=lambda each: each.name)
def test_a_recipe_gives_a_version_that_serves(recipe: Recipe, tmp_path: Path) -> None:
    source, target = tiny_llama.write(tmp_path / "source/1"), tmp_path / "target/1"
    build(recipe, source, target, TEXTS.tolist())
    graph = onnx.load(target / "model.onnx").graph
    assert OPERATORS[recipe.method.kind] in {node.op_type for node in graph.node}
    tables = [each.dims for each in graph.initializer if each.data_type == onnx.TensorProto.INT8]
    assert [tiny_llama.VOCABULARY, tiny_llama.WIDTH] in tables
    wanted, got = (force(language(each).decoders[0], TEXTS) for each in (source, target))
    ratio, agreement = language_checks(got, wanted, None, None)
    assert float(agreement.measured) > (0.5 if "INT4" in recipe.name else 0.9)
    assert float(ratio.measured) == pytest.approx(1, abs=0.5 if "INT4" in recipe.name else 0.05)
