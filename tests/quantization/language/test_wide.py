import numpy as np
import onnx
import pytest
from onnx import helper

from service.engine.generation.genai_config import LanguageConfig
from service.quantization.language.wide import wide_nodes
from tests.engine.generation import tiny_llama
from tests.engine.graphs import constant, model, value


def config(layers: int) -> LanguageConfig:
    decoder = {"num_hidden_layers": layers, "num_key_value_heads": 1, "head_size": 8}
    return LanguageConfig.model_validate(
        {"context_length": 16, "vocab_size": 8, "decoder": decoder}
    )


def chain(layers: int) -> onnx.ModelProto:
    """Return a chain of products with the names that the builder uses."""
    names = [
        f"/model/layers.{layer}/{part}/MatMul"
        for layer in range(layers)
        for part in ("attn/qkv_proj", "attn/o_proj", "mlp/up_proj", "mlp/down_proj")
    ]
    nodes, last = [], "x"
    for name in (*names, "/lm_head/MatMul"):
        output = "logits" if "head" in name else name
        nodes.append(helper.make_node("MatMul", [last, "w"], [output], name=name))
        last = output
    weights = [constant("w", np.ones((8, 8)), np.float32)]
    return model(nodes, [value("x", ["n", 8])], [value("logits", ["n", 8])], weights)


@pytest.mark.parametrize(
    ("layers", "wide"),
    [
        (1, {0}),
        (2, {0}),
        (8, {0, 3, 6, 7}),
        (30, {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29}),
    ],
)
def test_first_last_and_every_third_layer_are_wide(layers: int, wide: set[int]) -> None:
    found = wide_nodes(chain(layers), config(layers))
    parts = ("attn/qkv_proj", "mlp/down_proj")
    wanted = [f"/model/layers.{each}/{part}/MatMul" for each in sorted(wide) for part in parts]
    assert list(found) == [*wanted, "/lm_head/MatMul"]


def test_with_other_names_only_the_scores_are_wide() -> None:
    graph = tiny_llama.graph()
    (found,) = wide_nodes(graph, config(tiny_llama.LAYERS))
    (scores,) = [each for each in graph.graph.node if each.name == found]
    assert scores.op_type == "MatMul" and list(scores.output) == ["logits"]
