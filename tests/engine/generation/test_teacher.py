from pathlib import Path

import numpy as np
import pytest

from service.engine.generation.teacher import ROWS, force
from tests.engine.generation import tiny_llama
from tests.engine.generation.tiny_batcher import language


def test_teacher_forcing_matches_one_run_over_the_whole_text(tmp_path: Path) -> None:
    model = language(tmp_path, rows=1)
    texts = np.random.default_rng(0).integers(0, tiny_llama.VOCABULARY, (ROWS + 2, 9))
    forced = force(model.decoders[0], texts)
    empty = np.zeros((1, tiny_llama.KV_HEADS, 0, tiny_llama.SIZE), np.float32)
    for text, logprobs, top1 in zip(texts, *forced, strict=True):
        feed = {f"past_key_values.{n}.{k}": empty for n in range(2) for k in ("key", "value")}
        feed |= {"input_ids": text[None], "attention_mask": np.ones((1, 9), np.int64)}
        scores = model.decoders[0]._native.run(["logits"], feed)[0][0, :-1].astype(np.float64)
        wanted = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(logprobs, wanted[np.arange(8), text[1:]], atol=1e-3)
        np.testing.assert_array_equal(top1, scores.argmax(axis=1))


def test_teacher_forcing_can_be_stopped(tmp_path: Path) -> None:
    model = language(tmp_path, rows=1)
    with pytest.raises(InterruptedError):
        force(model.decoders[0], np.zeros((1, 5), np.int64), lambda: False)
