"""Products of a language model that keep eight bits where the others have four.

The choice is that of llama.cpp's Q4_K_M and of the model builder's ``k_quant_mixed``: the product
of the scores, and in half of the layers the value projection of attention and the down projection
of the feed-forward block. Choosing the products that four bits change most was worse: at the same
size, SmolLM2's perplexity was 1.25 times FP32's with that choice, and 1.05 times with this one.
"""

import re
from collections.abc import Iterator

import onnx

from service.engine.generation.genai_config import LanguageConfig
from service.quantization.graphs.products import Constants, product_of

SENSITIVE = re.compile(r"/model/layers\.(\d+)/(?:attn/(?:qkv_proj|v_proj)|mlp/down_proj)/MatMul")
"""Names of nodes, as the model builder writes them."""


def wide_nodes(model: onnx.ModelProto, config: LanguageConfig) -> tuple[str, ...]:
    """Return the names of the nodes that keep eight bits. In a graph whose nodes were not named by
    the builder, this is only the product of the scores."""
    layers = frozenset(_layers(config.decoder.num_hidden_layers))
    scores, constants = config.decoder.outputs.logits, Constants(model.graph, model.ir_version)
    found = []
    for node in model.graph.node:
        match = SENSITIVE.fullmatch(node.name)
        sensitive = match is not None and int(match[1]) in layers
        if (sensitive or scores in node.output) and product_of(node, constants) is not None:
            found.append(node.name)
    return tuple(found)


def _layers(count: int) -> Iterator[int]:
    """Yield the numbers of the layers in the first and last eighth, and of every third layer
    between."""
    for layer in range(count):
        inner = count / 8 <= layer < 7 * count / 8
        if not inner or (layer - round(count / 8)) % 3 == 2:
            yield layer
