"""Requests of OpenAI's API to values."""

from typing import Any

import pytest

from service.api.protocol.openai_requests import (
    MOST_STOPS,
    BadArgument,
    ChatRequest,
    CompletionRequest,
    read,
    read_generate,
)

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def test_what_is_left_out_has_openais_defaults() -> None:
    asked = read(ChatRequest, CHAT)
    sampling = asked.parameters()
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (1.0, 1.0, None)
    assert (asked.choices, asked.limit, asked.stops, asked.told) == (1, None, (), None)


def test_null_and_what_concerns_openais_service_is_passed_over() -> None:
    nothing = dict.fromkeys(("temperature", "stop", "seed", "n", "logit_bias", "tools"))
    assert read(ChatRequest, CHAT | nothing | {"user": "me", "store": True}).choices == 1


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * (MOST_STOPS + 1)}, "stop"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody", "content": ""}]}, "messages.0.role"),
        ({"tools": [{}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"no_such_thing": 1}, "no_such_thing"),
    ],
)
def test_what_is_wrong_is_named(more: dict[str, Any], param: str) -> None:
    with pytest.raises(BadArgument) as refused:
        read(ChatRequest, CHAT | more)
    assert refused.value.param == param and param.split(".")[0] in str(refused.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(BadArgument, match='you must provide "model"'):
        read(ChatRequest, {"messages": CHAT["messages"]})


def test_messages_are_made_ready_for_the_template() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "developer", "content": parts},
        {"role": "user", "content": None, "name": "x"},
    ]
    first, second = read(ChatRequest, CHAT | {"messages": messages}).messages
    assert first.for_template() == {"role": "system", "content": "ab"}
    assert second.for_template() == {"role": "user", "content": "", "name": "x"}


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2]], [[1], [2]])],
)
def test_a_prompt_is_text_or_tokens_one_or_several(prompt: Any, prompts: list[Any]) -> None:
    assert read(CompletionRequest, {"model": "m", "prompt": prompt}).prompts == prompts


def test_each_answer_has_a_seed_of_its_own() -> None:
    asked = read(ChatRequest, CHAT | {"seed": 2**64 - 1, "n": 2})
    assert [asked.parameters(choice=i).seed for i in range(2)] == [2**64 - 1, 0]


def test_tritons_extension_takes_parameters_at_both_places() -> None:
    asked = read_generate({"text_input": "a", "max_tokens": 3, "parameters": {"temperature": 0}})
    assert (asked.text_input, asked.max_tokens, asked.parameters().temperature) == ("a", 3, 0)
    with pytest.raises(BadArgument, match="must be an object"):
        read_generate({"text_input": "a", "parameters": 1})
