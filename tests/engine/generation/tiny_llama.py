"""A language model of 300 kB with random weights, in the form of onnxruntime-genai's builder.

python -m tests.engine.generation.tiny_llama models/tiny/1
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.engine.generation.language import END, PAD, write_tokenizer
from tests.engine.graphs import INT64, constant, model, node, value

LAYERS, HEADS, KV_HEADS, SIZE, VOCABULARY, CONTEXT = 2, 4, 2, 16, 512, 128
WIDTH = HEADS * SIZE
EOS = 2
"""The token with which the template ends messages."""


def graph(
    seed: int = 0, *, pruned: bool = False, scale: float = 4.0, context: int = CONTEXT
) -> onnx.ModelProto:
    """Build the decoder. ``pruned``: only the scores of the last token are returned. ``scale`` of
    the scores: how certain the model is."""
    make = _Maker(seed, context)
    make.mask()
    x = make.add("Gather", make.weight("embed", VOCABULARY, WIDTH), "input_ids")
    for layer in range(LAYERS):
        x = make.layer(layer, x)
    x = make.norm("last", x)
    if pruned:
        make.weights.append(constant("end", [-1], np.int64))
        x = make.add("Gather", x, "end", axis=1)
    head = make.weight("head", WIDTH, VOCABULARY, scale=scale)
    make.nodes.append(node("MatMul", x, head, to="logits"))
    past = ["batch_size", KV_HEADS, "past_sequence_length", SIZE]
    total = ["batch_size", KV_HEADS, "total_sequence_length", SIZE]
    inputs = [
        value("input_ids", ["batch_size", "sequence_length"], INT64),
        value("attention_mask", ["batch_size", "total_sequence_length"], INT64),
    ]
    outputs = [value("logits", ["batch_size", "sequence_length", VOCABULARY])]
    for layer in range(LAYERS):
        for each in ("key", "value"):
            inputs.append(value(f"past_key_values.{layer}.{each}", past))
            outputs.append(value(f"present.{layer}.{each}", total))
    return model(make.nodes, inputs, outputs, make.weights)


def config(**changes: Any) -> dict[str, Any]:
    """Return the content of genai_config.json."""
    decoder = {
        "head_size": SIZE,
        "hidden_size": WIDTH,
        "filename": "model.onnx",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    found = {
        "type": "llama",
        "bos_token_id": 1,
        "eos_token_id": EOS,
        "pad_token_id": 0,
        "context_length": CONTEXT,
        "vocab_size": VOCABULARY,
        "decoder": decoder,
    }
    return {"model": found | changes, "search": {"max_length": CONTEXT}}


def write(version: Path, *, context: int = CONTEXT, **options: Any) -> Path:
    """Write a complete version folder."""
    version.mkdir(parents=True, exist_ok=True)
    onnx.save(graph(context=context, **options), version / "model.onnx")
    (version / "genai_config.json").write_text(json.dumps(config(context_length=context)))
    write_tokenizer(version)
    return version


class _Maker:
    def __init__(self, seed: int, context: int) -> None:
        self.context = context
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def add(self, operator: str, *names: str, domain: str = "", **attributes: Any) -> str:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, list(names), [name], name=name, domain=domain, **attributes)
        )
        return name

    def weight(self, name: str, *shape: int, scale: float = 1.0) -> str:
        values = self.random.standard_normal(shape) * scale / shape[0] ** 0.5
        self.weights.append(constant(name, values, np.float32))
        return name

    def mask(self) -> None:
        """The number of tokens in each row, less one, and the length of the longest."""
        self.weights += [constant("one", [1], np.int64), constant("first", 1, np.int64)]
        counted = self.add("ReduceSum", "attention_mask", "one", keepdims=0)
        less = self.add("Sub", counted, "one")
        self.lengths = self.add("Cast", less, to=TensorProto.INT32)
        longest = self.add("Gather", self.add("Shape", "attention_mask"), "first", axis=0)
        self.total = self.add("Cast", longest, to=TensorProto.INT32)
        angles = np.outer(np.arange(self.context), 1e4 ** (-np.arange(0, SIZE, 2) / SIZE))
        self.weights += [
            constant("cos", np.cos(angles), np.float32),
            constant("sin", np.sin(angles), np.float32),
        ]

    def norm(self, name: str, x: str) -> str:
        self.weights.append(constant(f"{name}_norm", np.ones(WIDTH), np.float32))
        return self.add("SimplifiedLayerNormalization", x, f"{name}_norm", epsilon=1e-5)

    def layer(self, number: int, x: str) -> str:
        normed = self.norm(f"{number}_in", x)
        sizes = {"q": HEADS * SIZE, "k": KV_HEADS * SIZE, "v": KV_HEADS * SIZE}
        query, key, val = (
            self.add("MatMul", normed, self.weight(f"{number}_{each}", WIDTH, size))
            for each, size in sizes.items()
        )
        past = [f"past_key_values.{number}.{each}" for each in ("key", "value")]
        present = [f"present.{number}.{each}" for each in ("key", "value")]
        attention = f"attention_{number}"
        self.nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [query, key, val, *past, self.lengths, self.total, "cos", "sin"],
                [attention, *present],
                name=attention,
                domain="com.microsoft",
                num_heads=HEADS,
                kv_num_heads=KV_HEADS,
                do_rotary=1,
            )
        )
        out = self.add("MatMul", attention, self.weight(f"{number}_o", WIDTH, WIDTH))
        x = self.add("Add", x, out)
        normed = self.norm(f"{number}_out", x)
        up = self.add("MatMul", normed, self.weight(f"{number}_up", WIDTH, 2 * WIDTH))
        gate = self.add("MatMul", normed, self.weight(f"{number}_gate", WIDTH, 2 * WIDTH))
        inner = self.add("Mul", self.add("Mul", gate, self.add("Sigmoid", gate)), up)
        down = self.add("MatMul", inner, self.weight(f"{number}_down", 2 * WIDTH, WIDTH))
        return self.add("Add", x, down)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    print(f"{PAD} 0, {END} {EOS}: {sys.argv[1]}")
