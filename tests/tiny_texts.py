"""Text models of a few kilobytes, each with a tokenizer of a few words, in folders as Hugging Face
and Optimum write them.

The state of a token is its vector plus the mean of the vectors of its text, so it depends on all
tokens of the text only.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.engine.graphs import INT64, constant, model, node, value

WORDS = "a an the dog cat sea is was blue old runs in Paris Berlin Ann yes no how long".lower()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split()]
WIDTH = 6
ENCODER, POOLED = "last_hidden_state", "sentence_embedding"


def tokenizer(truncation: int | None = None) -> Tokenizer:
    """Return a tokenizer of lower-case words between [CLS] and [SEP]."""
    words = {word: number for number, word in enumerate(VOCABULARY)}
    found = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    found.normalizer = normalizers.Lowercase()
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    if truncation:
        found.enable_truncation(truncation)
    found.enable_padding(length=32, pad_id=0, pad_token="[PAD]")
    return found


def table(seed: int = 0) -> np.ndarray:
    """Return the vectors of the tokens [vocabulary, width], and two more for the token types."""
    return np.random.default_rng(seed).standard_normal((len(VOCABULARY) + 2, WIDTH), np.float32)


def states(ids: list[int], types: list[int] | None = None, seed: int = 0) -> np.ndarray:
    """Compute the graph's states of one text, [tokens, width]."""
    vectors = table(seed)[ids] + table(seed)[np.array(types or [0] * len(ids)) + len(VOCABULARY)]
    return vectors + vectors.mean(axis=0)


def head(labels: int) -> np.ndarray:
    """Return the weights [width, labels] from states to scores."""
    return np.random.default_rng(9).standard_normal((WIDTH, labels), np.float32)


def graph(
    output: str = ENCODER, labels: int = 0, *, seed: int = 0, heeds_mask: bool = True
) -> onnx.ModelProto:
    """``output`` names the states [rows, tokens, width]; their mean where it is ``POOLED``; with
    ``labels`` "logits" of each token, or of the first one where it is "logits"."""
    nodes = [
        helper.make_node("Add", ["token_type_ids", "types"], ["typed"]),
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Gather", ["table", "typed"], ["kinds"]),
        node("Add", "words", "kinds", to="vectors"),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
    ]
    if heeds_mask:
        nodes += [
            helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
            node("Mul", "vectors", "column", to="real"),
            helper.make_node("ReduceSum", ["real", "tokens"], ["sum"], keepdims=1),
            helper.make_node("ReduceSum", ["column", "tokens"], ["count"], keepdims=1),
            node("Div", "sum", "count", to="mean"),
        ]
    else:
        mean = helper.make_node("ReduceMean", ["vectors"], ["mean"], axes=[1], keepdims=1)
        nodes.append(mean)
    nodes.append(node("Add", "vectors", "mean", to="states"))
    shape: list[Any] = ["batch", "sequence", labels or WIDTH]
    if output == POOLED:
        nodes.append(helper.make_node("Squeeze", ["mean", "tokens"], [output]))
        shape = ["batch", WIDTH]
    elif output == "logits":
        nodes.append(helper.make_node("Gather", ["states", "first"], ["begin"], axis=1))
        nodes.append(node("MatMul", "begin", "head", to=output))
        shape = ["batch", labels]
    elif labels:
        nodes.append(node("MatMul", "states", "head", to="logits"))
    else:
        nodes.append(node("Identity", "states", to=output))
    inputs = [
        value(name, ["batch", "sequence"], INT64)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    weights = [
        constant("table", table(seed), np.float32),
        constant("types", len(VOCABULARY), np.int64),
        constant("last", [2], np.int64),
        constant("tokens", [1], np.int64),
        constant("first", 0, np.int64),
    ]
    if labels:
        weights.append(constant("head", head(labels), np.float32))
    name = "logits" if labels else output
    return model(nodes, inputs, [value(name, shape)], weights)


def write(
    home: Path,
    *,
    output: str = ENCODER,
    labels: tuple[str, ...] = (),
    architecture: str = "BertModel",
    truncation: int | None = None,
    files: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Write a version's folder: graph, tokenizer.json, config.json and other JSON ``files``."""
    home.mkdir(parents=True, exist_ok=True)
    onnx.save(graph(output, len(labels), **options), home / "model.onnx")
    tokenizer(truncation).save(str(home / "tokenizer.json"))
    config: dict[str, Any] = {"architectures": [architecture], "max_position_embeddings": 64}
    if labels:
        config["id2label"] = {str(place): label for place, label in enumerate(labels)}
    for name, content in {"config.json": config, **(files or {})}.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(json.dumps(content))
    return home


def embedder(home: Path, **options: Any) -> Path:
    """Write an encoder that returns the states of all tokens, as from Optimum and
    sentence-transformers."""
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}
    return write(home, files={"1_Pooling/config.json": pooling}, **options)


def classifier(home: Path, labels: tuple[str, ...] = ("bad", "good", "so"), **more: Any) -> Path:
    """Write a model that returns scores of labels."""
    kind = "BertForSequenceClassification"
    return write(home, output="logits", labels=labels, architecture=kind, **more)


def reranker(home: Path, **options: Any) -> Path:
    """Write a model that returns one score."""
    return classifier(home, ("LABEL_0",), **options)


def tagger(home: Path, labels: tuple[str, ...] = ("O", "B-PER", "I-PER", "B-LOC")) -> Path:
    """Write a model that returns scores of labels for each token."""
    kind = "BertForTokenClassification"
    return write(home, output="tokens", labels=labels, architecture=kind)
