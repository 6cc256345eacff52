from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.core.errors import InputRejected
from service.core.generation import (
    Delta,
    FinishReason,
    GenerationRequest,
    SamplingParameters,
    ToolCall,
    joined,
)
from service.engine.generation.answer import Answer
from service.engine.generation.sampling import Choice
from service.engine.generation.tokenizer import Tokenizer
from service.engine.generation.tool_parser import ToolParser
from service.engine.generation.tool_syntax import TAGGED
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


def test_an_end_token_of_the_model_ends_an_answer(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "a café 🙂<|im_end|>more")
    assert "".join(each.text for each in deltas) == "a café 🙂"
    assert deltas[-1].finish is FinishReason.STOP
    assert deltas[-1].tokens == len(tokenizer.encode("a café 🙂<|im_end|>", special=False))
    assert [each.finish for each in deltas[:-1]] == [None] * (len(deltas) - 1)


def test_the_token_limit_ends_an_answer(tokenizer: Tokenizer) -> None:
    for limits in ({"max_tokens": 3}, {"room": 3}, {"max_tokens": 9, "room": 3}):
        deltas = told(tokenizer, "1234567890", **limits)
        assert (deltas[-1].finish, deltas[-1].tokens) == (FinishReason.LENGTH, 3)


def test_an_incomplete_character_at_the_end_is_a_replacement_character(
    tokenizer: Tokenizer,
) -> None:
    deltas = told(tokenizer, "🙂", max_tokens=2)
    assert [each.text for each in deltas] == ["\ufffd"]


def test_a_stop_string_ends_an_answer_and_is_left_out(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "one two three four", stop=("three",))
    assert "".join(each.text for each in deltas) == "one two "
    assert deltas[-1].finish is FinishReason.STOP


def test_an_incomplete_stop_string_at_the_end_is_returned(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "one two thr<|im_end|>", stop=("three",))
    assert "".join(each.text for each in deltas) == "one two thr"


def test_an_answer_does_not_end_before_min_tokens(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "a b c d", stop=("b",), min_tokens=100)
    assert "".join(each.text for each in deltas) == "a b c d"
    answer = Answer(GenerationRequest((1,), min_tokens=1), tokenizer, (EOS,), 9)
    assert answer.sampler.bar
    answer.push(Choice(300))
    assert not answer.sampler.bar


def test_an_answer_continues_after_the_end_token_with_ignore_eos(tokenizer: Tokenizer) -> None:
    deltas = told(tokenizer, "a<|im_end|>b", ignore_eos=True)
    assert "".join(each.text for each in deltas) == "ab"


def test_tokens_are_returned_with_text_and_log_probability(tokenizer: Tokenizer) -> None:
    asked = SamplingParameters(logprobs=2)
    deltas = told(tokenizer, "e<|im_end|>", sampling=asked)
    assert len(deltas) == 2
    (token,) = deltas[0].chosen
    assert (token.text, token.logprob) == ("e", -0.5)
    assert [each.token for each in token.top] == [token.token, 9]
    assert not told(tokenizer, "e")[0].chosen


def test_tokens_of_one_character_are_returned_together(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    mine = Tokenizer(tmp_path / "tokenizer.json")
    deltas = told(mine, "🙂x", sampling=SamplingParameters(logprobs=0))
    assert [len(each.chosen) for each in deltas] == [len(mine.encode("🙂", special=False)), 1]


NOW = ToolCall("now", '{"zone": "UTC"}')
CALL = '<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>'


def with_calls(tokenizer: Tokenizer, text: str, single: bool = False, **asked: Any) -> list[Delta]:
    finder = ToolParser(TAGGED, ["now"], single=single)
    return told(tokenizer, text, calls=finder, **asked)


def called(deltas: list[Delta]) -> tuple[str, tuple[ToolCall, ...], FinishReason | None]:
    calls = joined(piece for each in deltas for piece in each.calls)
    return "".join(each.text for each in deltas), calls, deltas[-1].finish


def test_calls_are_separated_from_the_text_as_they_are_generated(tokenizer: Tokenizer) -> None:
    deltas = with_calls(
        tokenizer, f"Well. {CALL} <|im_end|>", sampling=SamplingParameters(logprobs=0)
    )
    assert called(deltas) == ("Well. ", (NOW,), FinishReason.STOP)
    assert sum(bool(each.calls) for each in deltas) > 5
    tokens = "".join(token.text for each in deltas for token in each.chosen)
    assert tokens == f"Well. {CALL} "


def test_an_answer_ends_after_its_call_if_it_may_have_one_only(tokenizer: Tokenizer) -> None:
    deltas = with_calls(tokenizer, f"Well. {CALL}\n{CALL}<|im_end|>", single=True, min_tokens=1000)
    assert called(deltas) == ("Well. ", (NOW,), FinishReason.STOP)
    needed = deltas[-1].tokens
    assert needed <= len(tokenizer.encode(f"Well. {CALL}", special=False))
    for most, finish in ((needed, FinishReason.STOP), (needed - 1, FinishReason.LENGTH)):
        deltas = with_calls(tokenizer, f"Well. {CALL}", single=True, max_tokens=most)
        assert deltas[-1].finish is finish and deltas[-1].tokens == most
    several = with_calls(tokenizer, f"{CALL}\n{CALL}<|im_end|>")
    assert called(several) == ("", (NOW, NOW), FinishReason.STOP)


@pytest.mark.parametrize("stop", ["UTC", "name", "tool", "<", '"', "}}", "\n"])
def test_a_stop_string_within_a_call_is_passed_over(tokenizer: Tokenizer, stop: str) -> None:
    text = f"Well. {CALL}\n{CALL}\n"
    deltas = with_calls(tokenizer, f"{text}And {stop} no more", stop=(stop,))
    assert called(deltas) == ("Well. And ", (NOW, NOW), FinishReason.STOP)


def test_a_stop_string_before_a_call_ends_the_answer(tokenizer: Tokenizer) -> None:
    deltas = with_calls(tokenizer, f"Well then. {CALL}", stop=("then",))
    assert called(deltas) == ("Well ", (), FinishReason.STOP)
    unknown = '<tool_call>{"name": "other"}'
    deltas = with_calls(tokenizer, f"{unknown} {CALL}", stop=("other",))
    assert called(deltas) == ('<tool_call>{"name": "', (), FinishReason.STOP)


def test_a_stop_string_does_not_continue_behind_a_call(tokenizer: Tokenizer) -> None:
    deltas = with_calls(tokenizer, f"to {CALL}day<|im_end|>", stop=("to day", "today"))
    assert called(deltas) == ("to day", (NOW,), FinishReason.STOP)
    begun = next(number for number, each in enumerate(deltas) if each.calls)
    assert "".join(each.text for each in deltas[: begun + 1]) == "to "


class Broken:
    """A form that cannot be followed."""

    problem = "too many items"

    def allowed(self) -> NDArray[np.bool_]:
        raise AssertionError

    def note(self, token: int) -> None:
        raise AssertionError


@pytest.mark.parametrize("token", [300, EOS])
def test_an_answer_whose_form_cannot_be_followed_fails(tokenizer: Tokenizer, token: int) -> None:
    answer = Answer(GenerationRequest((1,), constraint=Broken()), tokenizer, (EOS,), 9)
    with pytest.raises(InputRejected, match="requested form can be found: too many items"):
        answer.push(Choice(token))
