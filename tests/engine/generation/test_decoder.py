"""The decoder on the tiny model, against the same graph run from an empty cache."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.core.errors import ExecutionFailed, LoadFailed
from service.engine.generation.decoder import Decoder, Traits
from service.engine.generation.genai_config import LanguageConfig
from service.engine.generation.kept_prompts import Move
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session, new_control
from tests.engine.generation import tiny_llama

CONTEXT = 48


def session(folder: Path, **options: Any) -> Session:
    return Session(tiny_llama.write(folder, **options) / "model.onnx", SessionOptions())


def config(**changes: Any) -> LanguageConfig:
    return LanguageConfig.model_validate(tiny_llama.config(**changes)["model"])


@pytest.fixture(scope="module", params=[False, True], ids=["all", "pruned"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    return session(tmp_path_factory.mktemp("tiny"), pruned=request.param)


def whole(tiny: Session, tokens: list[int]) -> Any:
    """Return the last scores of a text, computed without our cache."""
    empty = np.zeros((1, tiny_llama.KV_HEADS, 0, tiny_llama.SIZE), np.float32)
    feed = {spec.name: empty for spec in tiny.signature.inputs}
    feed["input_ids"] = np.array([tokens], np.int64)
    feed["attention_mask"] = np.ones((1, len(tokens)), np.int64)
    return tiny.native.run(["logits"], feed)[0][0, -1]


def text(seed: int, length: int) -> list[int]:
    return np.random.default_rng(seed).integers(3, tiny_llama.VOCABULARY, length).tolist()


def test_scores_match_with_chunks_and_rows_of_different_lengths(tiny: Session) -> None:
    decoder = Decoder(tiny, config(), 4, CONTEXT, new_control())
    texts = [text(seed, length) for seed, length in enumerate((3, 17, 9))]
    for row, tokens in enumerate(texts):
        for start in range(0, len(tokens), 8):
            scores = decoder.read(row, [tokens[start : start + 8]], start)[0]
        np.testing.assert_allclose(scores, whole(tiny, tokens), atol=1e-4)
    for step in range(5):
        more = [5 + step, 50 + step, 400 + step]
        scores = decoder.next(more, [len(tokens) for tokens in texts])
        texts = [[*tokens, new] for tokens, new in zip(texts, more, strict=True)]
        assert scores.shape == (3, tiny_llama.VOCABULARY)
        for row, tokens in enumerate(texts):
            np.testing.assert_allclose(scores[row], whole(tiny, tokens), atol=1e-4)


def test_prompts_of_one_length_are_read_in_one_run(tiny: Session) -> None:
    decoder = Decoder(tiny, config(), 4, CONTEXT, new_control())
    texts = [text(seed, 9) for seed in range(3)]
    decoder.read(0, [text(9, 30)])
    for tokens, scores in zip(texts, decoder.read(1, texts), strict=True):
        np.testing.assert_allclose(scores, whole(tiny, tokens), atol=1e-4)
    more = decoder.next([7, 8, 9, 10], [30, 9, 9, 9])
    for row, (tokens, new) in enumerate(zip(texts, (8, 9, 10), strict=True), 1):
        np.testing.assert_allclose(more[row], whole(tiny, [*tokens, new]), atol=1e-4)
    np.testing.assert_allclose(more[0], whole(tiny, [*text(9, 30), 7]), atol=1e-4)


def test_a_run_of_one_row_keeps_the_prompt_in_the_next_row(tiny: Session) -> None:
    decoder = Decoder(tiny, config(), 3, CONTEXT, new_control(), Traits(2))
    first, prompt = text(1, 5), text(2, 17)
    decoder.read(0, [first])
    for start in range(0, len(prompt), 4):
        scores = decoder.read(1, [prompt[start : start + 4]], start)[0]
        read = min(start + 4, len(prompt))
        alone = decoder.next([7 + start], [len(first)], read)
        first.append(7 + start)
        assert alone.shape == (1, tiny_llama.VOCABULARY)
        np.testing.assert_allclose(alone[0], whole(tiny, first), atol=1e-4)
    np.testing.assert_allclose(scores, whole(tiny, prompt), atol=1e-4)
    joined = decoder.next([9, 11], [len(first), len(prompt)])
    np.testing.assert_allclose(joined[1], whole(tiny, [*prompt, 11]), atol=1e-4)


def test_a_cache_of_one_row_has_no_second_row(tiny: Session) -> None:
    decoder = Decoder(tiny, config(), 1, CONTEXT, new_control(), Traits(2))
    tokens = text(1, 5)
    decoder.read(0, [tokens])
    np.testing.assert_allclose(decoder.next([7], [5])[0], whole(tiny, [*tokens, 7]), atol=1e-4)


def test_a_row_can_move(tiny: Session) -> None:
    decoder = Decoder(tiny, config(), 2, CONTEXT, new_control())
    decoder.read(0, [text(1, 5)])
    tokens = text(2, 11)
    decoder.read(1, [tokens])
    decoder.cache.move(Move(1, 0, 11))
    scores = decoder.next([7], [11])
    np.testing.assert_allclose(scores[0], whole(tiny, [*tokens, 7]), atol=1e-4)


def test_a_run_can_be_ended(tiny: Session) -> None:
    control = new_control()
    decoder = Decoder(tiny, config(), 1, CONTEXT, control)
    control.terminate = True
    with pytest.raises(ExecutionFailed, match="the language model failed: "):
        decoder.read(0, [[3, 4]])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"num_hidden_layers": 3}, '"past_key_values.2.key", which the model does not have'),
        ({"num_hidden_layers": 1}, 'has the input "past_key_values.1.key", which is not supported'),
        ({"num_key_value_heads": 3}, "says 3 heads of 16"),
        ({"outputs": {"logits": "scores"}}, 'has no output "scores"'),
    ],
)
def test_a_graph_that_does_not_fit_its_configuration_is_refused(
    tiny: Session, change: dict[str, Any], why: str
) -> None:
    decoder = tiny_llama.config()["model"]["decoder"] | change
    with pytest.raises(LoadFailed, match=why):
        Decoder(tiny, config(decoder=decoder), 1, CONTEXT, new_control())
