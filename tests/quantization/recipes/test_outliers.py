"""Activations whose values need more than eight bits per row."""

from pathlib import Path

import numpy as np
import onnx

from service.engine.generation.genai_config import LanguageConfig
from service.quantization.recipes.outliers import outliers
from tests.engine.generation import tiny_llama
from tests.engine.graphs import INT64, constant, node, value
from tests.engine.graphs import model as onnx_model

CONFIG = LanguageConfig.model_validate(tiny_llama.config()["model"])
TEXTS = np.random.default_rng(0).integers(3, 512, (3, 20)).tolist()


WIDTH = 256


def graph(peak: float) -> onnx.ModelProto:
    """Return a chain of five products. One value of the fourth input is ``peak`` times larger: the
    weights before it scale it up, and those after it scale it down."""
    random = np.random.default_rng(0)
    weights = [constant("table", random.standard_normal((512, WIDTH)), np.float32)]
    nodes = [node("Gather", "table", "input_ids", to="x0")]
    for place in range(5):
        values = random.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5
        if place == 2:
            values[:, 7] *= peak
        if place == 3:
            values[7] /= peak
        weights.append(constant(f"w{place}", values, np.float32))
        nodes.append(node("MatMul", f"x{place}", f"w{place}", to=f"x{place + 1}"))
        nodes[-1].name = f"product {place}"
    given = value("input_ids", ["batch_size", "sequence_length"], INT64)
    return onnx_model(nodes, [given], [value("x5", ["batch_size", "n", WIDTH])], weights)


def test_products_with_outliers_are_found(tmp_path: Path) -> None:
    model = graph(300)
    assert outliers(model, CONFIG, TEXTS, tmp_path) == ("product 3",)
    assert not list(tmp_path.iterdir())


def test_no_products_are_found_without_outliers() -> None:
    assert outliers(graph(1), CONFIG, TEXTS) == ()
    assert outliers(graph(1), CONFIG, []) == ()
