import json
from pathlib import Path

import numpy as np
import pytest

from service.core.errors import InputRejected
from service.core.texts import TextOptions
from service.engine.text.tokenizer import Tokens
from tests import tiny_texts
from tests.engine.text.made import text_model

NONE = TextOptions()
TOKENS = [Tokens([1, 2], [0, 0])]


def test_tokens_are_padded_to_arrays(tmp_path: Path) -> None:
    model = text_model(tmp_path, tiny_texts.embedder)
    texts = [Tokens([5, 6, 7], [0, 0, 1]), Tokens([8], [0])]
    ids, mask, types = model.arrays(texts, 4)
    assert ids.tolist() == [[5, 6, 7, 0], [8, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert types.tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]
    assert ids.dtype == np.int64


def test_embeddings_are_cut_before_they_are_normalised(tmp_path: Path) -> None:
    model = text_model(tmp_path, tiny_texts.embedder)
    rows = [np.array([3.0, 4.0, 12.0, 0, 0, 0], np.float32)]
    (found,) = model.finish([rows], ["a"], TOKENS, TextOptions(dimensions=2))
    np.testing.assert_allclose(found, [[0.6, 0.8]], rtol=1e-6)
    (found,) = model.finish([rows], ["a"], TOKENS, TextOptions(normalize=False))
    np.testing.assert_array_equal(found, rows)
    with pytest.raises(InputRejected, match="7 dimensions are asked for, and the embedding has 6"):
        model.check(TextOptions(dimensions=7))


def test_a_classifier_returns_labels_and_scores(tmp_path: Path) -> None:
    model = text_model(tmp_path, tiny_texts.classifier)
    rows = [np.array([0.0, 2.0, 0.0], np.float32)]
    labels, score, scores = model.finish([rows], ["a"], TOKENS, NONE)
    assert labels.tolist() == ["good"]
    np.testing.assert_allclose(scores.sum(), 1, rtol=1e-6)
    assert score[0] == scores[0, 1]
    raw = model.finish([rows], ["a"], TOKENS, TextOptions(raw=True))[2]
    np.testing.assert_array_equal(raw, rows)
    assert model.label(1) == "good" and model.label(9) == "LABEL_9"
    assert model.labels == {"scores": ("bad", "good", "so")}


def test_a_reranker_needs_pairs_and_returns_one_score(tmp_path: Path) -> None:
    model = text_model(tmp_path, tiny_texts.reranker)
    assert [spec.name for spec in model.signature.inputs] == ["text", "text_pair"]
    (score,) = model.finish([[np.array([0.0], np.float32)]], [("a", "b")], TOKENS, NONE)
    assert score.tolist() == [0.5] and model.labels == {}


def test_entities_have_their_positions_in_the_text(tmp_path: Path) -> None:
    model = text_model(tmp_path, tiny_texts.tagger)
    tokens = model.tokenizer.encode(["Ann runs"], 0, truncate=True)
    labels, scores = np.array([0, 1, 0, 0]), np.ones(4, np.float32)
    (found,) = model.finish([[labels], [scores]], ["Ann runs"], tokens, NONE)
    (part,) = json.loads(found[0])
    assert (part["entity_group"], part["word"], part["start"], part["end"]) == ("PER", "Ann", 0, 3)
    with pytest.raises(InputRejected, match="needs a text, not tokens"):
        model.finish([[labels], [scores]], [[1, 2]], TOKENS, NONE)


def test_figures_describe_task_inputs_and_outputs(tmp_path: Path) -> None:
    figures = text_model(tmp_path, tiny_texts.classifier).figures
    assert figures["task"] == "classification"
    assert figures["text_inputs"] == '"text" BYTES [-1], "text_pair" BYTES [-1]'
    assert figures["text_outputs"].endswith('"scores" FP32 [-1, 3]')
    assert (figures["max_tokens"], figures["truncate"]) == ("64", "false")
