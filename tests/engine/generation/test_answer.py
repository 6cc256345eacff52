from pathlib import Path
from typing import Any

import pytest

from service.core.generation import Delta, FinishReason, GenerationRequest, SamplingParameters
from service.engine.generation.answer import Answer
from service.engine.generation.sampling import Choice
from service.engine.generation.tokenizer import Tokenizer
from tests.engine.generation.language import write_tokenizer
from tests.engine.generation.tiny_llama import EOS


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Tokenizer(folder / "tokenizer.json")


def told(tokenizer: Tokenizer, text: str, room: int = 1000, **asked: Any) -> list[Delta]:
    answer = Answer(GenerationRequest((1,), **asked), tokenizer, (EOS,), room)
    deltas = []
    for token in tokenizer.encode(text, special=False):
        if delta := answer.push(Choice(token, -0.5, ((token, -0.5), (9, -1.5)))):
            deltas.append(delta)
        if delta and delta.finish:
            break
    return deltas


def test_the_model_ends_it(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "a café 🙂<|im_end|>more")
    assert "".join(each.text for each in deltas) == "a café 🙂"
    assert deltas[-1].finish is FinishReason.STOP
    assert deltas[-1].tokens == len(tokenizer.encode("a café 🙂<|im_end|>", special=False))
    assert [each.finish for each in deltas[:-1]] == [None] * (len(deltas) - 1)


def test_its_length_ends_it(tokenizer: Tokenizer) -> None:
    for limits in ({"max_tokens": 3}, {"room": 3}, {"max_tokens": 9, "room": 3}):
        deltas = told(tokenizer, "1234567890", **limits)
        assert (deltas[-1].finish, deltas[-1].tokens) == (FinishReason.LENGTH, 3)


def test_half_a_character_at_the_end_is_told_as_one(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "🙂", max_tokens=2)
    assert [each.text for each in deltas] == ["\ufffd"]


def test_a_stop_string_ends_it_and_is_not_told(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "one two three four", stop=("three",))
    assert "".join(each.text for each in deltas) == "one two "
    assert deltas[-1].finish is FinishReason.STOP


def test_a_stop_string_that_does_not_come_is_told_up_to_the_end(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "one two thr<|im_end|>", stop=("three",))
    assert "".join(each.text for each in deltas) == "one two thr"


def test_before_the_least_number_of_tokens_nothing_ends_it(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "a b c d", stop=("b",), min_tokens=100)
    assert "".join(each.text for each in deltas) == "a b c d"
    answer = Answer(GenerationRequest((1,), min_tokens=1), tokenizer, (EOS,), 9)
    assert answer.sampler.bar
    answer.push(Choice(300))
    assert not answer.sampler.bar


def test_who_ignores_the_end_gets_more(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "a<|im_end|>b", ignore_eos=True)
    assert "".join(each.text for each in deltas) == "ab"


def test_tokens_are_told_with_their_text(tokenizer: Tokenizer) -> None:
    asked = SamplingParameters(logprobs=2)
    deltas = told(tokenizer, "e<|im_end|>", sampling=asked)
    assert len(deltas) == 2
    (token,) = deltas[0].chosen
    assert (token.text, token.logprob) == ("e", -0.5)
    assert [each.token for each in token.top] == [token.token, 9]
    assert not told(tokenizer, "e")[0].chosen


def test_tokens_of_one_character_are_told_together(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    mine = Tokenizer(tmp_path / "tokenizer.json")
    deltas = told(mine, "🙂x", sampling=SamplingParameters(logprobs=0))
    assert [len(each.chosen) for each in deltas] == [len(mine.encode("🙂", special=False)), 1]
