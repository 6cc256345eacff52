"""Answers in the words of OpenAI's API, as its own client reads them."""

from math import inf

from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from service.api.protocol.openai_answers import (
    Head,
    Whole,
    chat,
    chat_piece,
    completion,
    completion_piece,
    usage,
    usage_piece,
)
from service.core.generation import Alternative, Delta, FinishReason, Token

HEAD = Head("id", 1, "m", "f")
CHOSEN = (
    Token(1, "a", -0.5, (Alternative(1, "a", -0.5), Alternative(2, "b", -inf))),
    Token(3, "\ufffd", -1.0),
)
WHOLE = Whole("ab", 2, CHOSEN, FinishReason.STOP)


def test_a_chat_is_one_of_openais() -> None:
    found = ChatCompletion.model_validate(chat(HEAD, [WHOLE, WHOLE], usage(3, 2)), strict=True)
    assert [choice.index for choice in found.choices] == [0, 1]
    assert found.choices[0].message.content == "ab"
    assert found.usage is not None and found.usage.total_tokens == 5
    logprobs = found.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    first, second = logprobs.content
    assert first.bytes == [97] and first.top_logprobs[1].logprob == -9999.0
    assert second.bytes is None  # a part of a character


def test_the_first_piece_names_the_role_and_the_last_the_reason() -> None:
    begun, ended = Delta("a", 1, (), None), Delta("", 2, (), FinishReason.LENGTH)
    first = ChatCompletionChunk.model_validate(chat_piece(HEAD, 0, begun, first=True))
    last = ChatCompletionChunk.model_validate(chat_piece(HEAD, 0, ended, first=False))
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "a")
    assert last.choices[0].delta.role is None and last.choices[0].finish_reason == "length"
    counted = usage_piece(HEAD, "chat.completion.chunk", usage(1, 2))
    assert ChatCompletionChunk.model_validate(counted).choices == []


def test_a_completion_is_one_of_openais() -> None:
    found = Completion.model_validate(completion(HEAD, [WHOLE], usage(3, 2)), strict=True)
    logprobs = found.choices[0].logprobs
    assert found.choices[0].text == "ab" and found.choices[0].finish_reason == "stop"
    assert logprobs is not None and logprobs.text_offset == [0, 1]
    piece = completion_piece(HEAD, 1, Delta("c", 1, (), None), first=True)
    assert piece["choices"][0]["index"] == 1 and piece["choices"][0]["logprobs"] is None
