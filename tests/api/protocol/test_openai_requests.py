from typing import Any

import pytest

from service.api.protocol.openai_chat import ChatRequest
from service.api.protocol.openai_requests import CompletionRequest, read, read_generate
from service.core.errors import BadArgument

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a"}]}


def test_missing_arguments_have_openais_defaults() -> None:
    asked = read(ChatRequest, CHAT)
    found = asked.parameters()
    assert (found.temperature, found.top_p, found.top_k, found.seed) == (1.0, 1.0, 0, None)
    assert (asked.choices, asked.limit, asked.told, asked.stops) == (1, None, None, ())
    assert not asked.usage_last


def test_every_choice_has_its_own_seed() -> None:
    asked = read(ChatRequest, {**CHAT, "seed": -1, "n": 2})
    assert [asked.parameters(None, choice).seed for choice in (0, 1)] == [2**64 - 1, 0]


def test_null_arguments_count_as_missing() -> None:
    nulls = dict.fromkeys(
        ("temperature", "stop", "n", "stream", "seed", "logprobs", "tools", "max_tokens", "top_k")
    )
    assert read(ChatRequest, {**CHAT, **nulls}) == read(ChatRequest, {**CHAT, **nulls, "user": "x"})


def test_both_names_of_the_token_limit_are_accepted() -> None:
    assert read(ChatRequest, {**CHAT, "max_tokens": 3}).limit == 3
    assert read(ChatRequest, {**CHAT, "max_tokens": 3, "max_completion_tokens": 5}).limit == 5


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_prompts_are_accepted_in_each_form(prompt: Any, prompts: Any) -> None:
    assert read(CompletionRequest, {"model": "m", "prompt": prompt}).prompts == prompts


@pytest.mark.parametrize("prompt", ["", [], [1, "a"], 5, None, [[1], "a"]])
def test_invalid_prompts_are_refused(prompt: Any) -> None:
    with pytest.raises(BadArgument) as found:
        read(CompletionRequest, {"model": "m", "prompt": prompt})
    assert found.value.param is not None and found.value.param.startswith("prompt")


def test_triton_arguments_may_be_in_parameters_or_at_the_top() -> None:
    asked = read_generate({"text_input": "a", "parameters": {"top_k": 5}, "temperature": 0})
    assert (asked.top_k, asked.temperature) == (5, 0)
    with pytest.raises(BadArgument, match='"parameters" must be an object'):
        read_generate({"text_input": "a", "parameters": 5})
