"""Function calls of the tiny language model on a real server, through OpenAI's own client."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from tests.engine.generation import tiny_llama
from tests.engine.generation.language import TOOL_TEMPLATE, write_tokens
from tests.system.process import running

ASKED: dict[str, Any] = {"model": "caller", "max_tokens": 900}
CHAT = [{"role": "user", "content": "Hi"}]


class Order(BaseModel):
    """Order shirts."""

    size: Literal["S", "M", "L"]
    count: int = Field(ge=1, le=99)


SIZES = {"type": "string", "enum": ["S", "M", "L"]}
SCHEMA = {
    "type": "object",
    "properties": {"size": SIZES, "count": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["size", "count"],
    "additionalProperties": False,
}
ORDER = {"type": "function", "function": {"name": "order", "parameters": SCHEMA}}
NOW = {
    "type": "function",
    "function": {"name": "now", "parameters": {**SCHEMA, "properties": {}, "required": []}},
}
TOOLS: list[Any] = [ORDER, NOW]
WRITTEN = (
    '<tool_call>{"name": "order", "arguments": {"size": "',
    'S", "count": 5}}</tool_call>\nWell. ',
)
"""The texts of two tokens, which are a call together."""
AGAIN: dict[str, Any] = {
    "model": "again",
    "messages": CHAT,
    "tools": TOOLS,
    "max_tokens": 20,
    "temperature": 0,
    "logit_bias": {"510": 100, "511": 99, str(tiny_llama.EOS): 92.5},
    "frequency_penalty": 2,
}
"""The model writes the two tokens in turn, four times: each time, they become less likely."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("models")
    version = tiny_llama.write(folder / "caller/1", context=2048)
    (version / "chat_template.jinja").write_text(TOOL_TEMPLATE)
    version = tiny_llama.write(folder / "again/1", context=2048, scale=0.01)
    (version / "chat_template.jinja").write_text(TOOL_TEMPLATE)
    assert write_tokens(version, *WRITTEN) == [510, 511]
    with (
        running(folder) as server,
        openai.OpenAI(base_url=f"http://{server.address}/v1", api_key="x", max_retries=0) as found,
    ):
        yield found


def fits(call: Any) -> None:
    arguments = json.loads(call.function.arguments)
    if call.function.name == "now":
        assert arguments == {}
    else:
        assert call.function.name == "order" and Order.model_validate(arguments)


def test_a_required_call_is_made(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(
        **ASKED, messages=CHAT, tools=TOOLS, tool_choice="required", n=4, seed=3
    )
    ids = set()
    for choice in found.choices:
        assert choice.finish_reason == "tool_calls" and choice.message.tool_calls
        assert not choice.message.content
        for call in choice.message.tool_calls:
            fits(call)
            ids.add(call.id)
    assert len(ids) == sum(len(choice.message.tool_calls or ()) for choice in found.choices)


def test_a_named_function_is_called_once(client: openai.OpenAI) -> None:
    choice = {"type": "function", "function": {"name": "order"}}
    found = client.chat.completions.create(
        **ASKED, messages=CHAT, tools=TOOLS, tool_choice=choice, seed=1
    )
    (call,) = found.choices[0].message.tool_calls or ()
    assert call.function.name == "order" and found.choices[0].finish_reason == "stop"
    fits(call)


def test_a_stream_adds_up_to_the_whole_answer(client: openai.OpenAI) -> None:
    asked = {
        **ASKED,
        "messages": CHAT,
        "tools": TOOLS,
        "tool_choice": "required",
        "seed": 5,
        "n": 5,
    }
    whole = client.chat.completions.create(**asked)
    with client.chat.completions.stream(**asked) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [each for each in events if each.type == "tool_calls.function.arguments.delta"]
    done = [each for each in events if each.type == "tool_calls.function.arguments.done"]
    calls = sum(len(choice.message.tool_calls or ()) for choice in whole.choices)
    assert len(done) == calls and len(deltas) > 3 * calls
    for one, other in zip(whole.choices, final.choices, strict=True):
        told = [
            [
                (call.function.name, call.function.arguments)
                for call in each.message.tool_calls or ()
            ]
            for each in (one, other)
        ]
        assert told[0] == told[1] and told[0]
        assert one.finish_reason == other.finish_reason == "tool_calls"


@pytest.mark.parametrize(("most", "finish"), [(900, "tool_calls"), (40, "length")])
def test_arguments_are_streamed_as_they_are_generated(
    client: openai.OpenAI, most: int, finish: str
) -> None:
    asked = {
        **ASKED,
        "max_tokens": most,
        "messages": CHAT,
        "tools": TOOLS,
        "tool_choice": "required",
        "seed": 8,
    }
    whole = client.chat.completions.create(**asked).choices[0]
    told: list[list[str]] = []
    fragments = 0
    reasons = []
    for piece in client.chat.completions.create(**asked, stream=True):
        choice = piece.choices[0]
        assert not choice.delta.content
        reasons.append(choice.finish_reason)
        for call in choice.delta.tool_calls or ():
            assert call.function
            if call.index == len(told):
                assert call.id and call.type == "function" and call.function.arguments == ""
                told.append([call.function.name or "", ""])
            else:
                assert call.index == len(told) - 1 and call.function.arguments
                assert call.id is None and call.function.name is None
                told[-1][1] += call.function.arguments
                fragments += 1
    calls = whole.message.tool_calls or ()
    assert told == [[call.function.name, call.function.arguments] for call in calls]
    assert fragments > len(told) > 0
    assert reasons[-1] == whole.finish_reason == finish and not any(reasons[:-1])


def told(choice: Any) -> tuple[str, list[tuple[str, str]], str]:
    calls = [
        (each.function.name, each.function.arguments) for each in choice.message.tool_calls or ()
    ]
    return choice.message.content or "", calls, choice.finish_reason


def both(client: openai.OpenAI, **more: Any) -> tuple[Any, int]:
    """Return an answer and the number of its tokens, which are the same whole and streamed."""
    whole = client.chat.completions.create(**AGAIN, **more)
    options = {"include_usage": True}
    with client.chat.completions.stream(**AGAIN, **more, stream_options=options) as stream:
        streamed = stream.get_final_completion()
    assert whole.usage and streamed.usage
    # The second prompt is copied from the cache, which its usage says.
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(streamed.usage, name) == getattr(whole.usage, name)
    (one,), (other,) = whole.choices, streamed.choices
    assert told(one) == told(other)
    return told(one), whole.usage.completion_tokens


CALLED = ("order", '{"size": "S", "count": 5}')


def test_an_answer_has_one_call_if_the_client_wants_no_parallel_calls(
    client: openai.OpenAI,
) -> None:
    found = both(client, parallel_tool_calls=False)
    assert found == (("", [CALLED], "tool_calls"), 2)


@pytest.mark.parametrize("more", [{}, {"stop": ["{", "\n", "order"]}])
def test_a_required_answer_has_one_call_if_the_client_wants_no_parallel_calls(
    client: openai.OpenAI, more: Any
) -> None:
    asked = {**ASKED, "messages": CHAT, "tools": TOOLS, "tool_choice": "required", **more}
    found = client.chat.completions.create(**asked, parallel_tool_calls=False, n=6, seed=3)
    for choice in found.choices:
        assert choice.finish_reason == "tool_calls" and choice.message.tool_calls
        (call,) = choice.message.tool_calls
        fits(call)


@pytest.mark.parametrize("more", [{}, {"parallel_tool_calls": True}])
def test_an_answer_may_have_several_calls(client: openai.OpenAI, more: Any) -> None:
    assert both(client, **more) == (("Well. " * 4, [CALLED] * 4, "tool_calls"), 9)


@pytest.mark.parametrize("stop", ["S", '"count"', "\n", "tool_call>"])
def test_a_stop_string_within_a_call_is_passed_over(client: openai.OpenAI, stop: str) -> None:
    assert both(client, stop=stop) == (("Well. " * 4, [CALLED] * 4, "tool_calls"), 9)


def test_a_stop_string_in_the_text_ends_the_answer(client: openai.OpenAI) -> None:
    assert both(client, stop=[".", "S"]) == (("Well", [CALLED], "tool_calls"), 2)


def test_openais_client_parses_the_arguments(client: openai.OpenAI) -> None:
    found = client.chat.completions.parse(
        **ASKED,
        messages=CHAT,
        tools=[openai.pydantic_function_tool(Order, name="order")],
        tool_choice="required",
        parallel_tool_calls=False,
        seed=2,
    )
    (call,) = found.choices[0].message.tool_calls or ()
    assert isinstance(call.function.parsed_arguments, Order)


class Weather(BaseModel):
    """An answer in JSON."""

    city: Literal["Oslo", "Rome"]
    degrees: int = Field(ge=-40, le=50)


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        ("auto", {"call", "answer"}),
        ("none", {"answer"}),
        ("required", {"call"}),
        ({"type": "function", "function": {"name": "order"}}, {"call"}),
    ],
)
def test_an_answer_is_a_call_or_has_the_requested_format(
    client: openai.OpenAI, choice: Any, kinds: set[str]
) -> None:
    asked: dict[str, Any] = {
        **ASKED,
        "messages": CHAT,
        "tools": [openai.pydantic_function_tool(Order, name="order")],
        "tool_choice": choice,
        "response_format": Weather,
        "n": 12,
        "seed": 4,
    }
    found = client.chat.completions.parse(**asked)
    seen = set()
    for each in found.choices:
        calls = each.message.tool_calls or ()
        seen.add("call" if calls else "answer")
        assert all(isinstance(call.function.parsed_arguments, Order) for call in calls)
        assert isinstance(each.message.parsed, Weather) == (not calls)
        assert bool(each.message.content) == (not calls)
        stopped = not calls or isinstance(choice, dict)
        assert each.finish_reason == ("stop" if stopped else "tool_calls")
    assert seen == kinds
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion()
    for one, other in zip(found.choices, streamed.choices, strict=True):
        assert one.message.parsed == other.message.parsed
        assert [call.function.parsed_arguments for call in one.message.tool_calls or ()] == [
            call.function.parsed_arguments for call in other.message.tool_calls or ()
        ]


def test_an_object_in_json_may_take_the_place_of_a_call(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(
        **{**ASKED, "max_tokens": 60},
        messages=CHAT,
        tools=[ORDER],
        response_format={"type": "json_object"},
        n=8,
        seed=1,
    )
    for each in found.choices:
        for call in each.message.tool_calls or ():
            assert call.function.name == "order" and call.function.arguments.startswith("{")
        assert each.message.tool_calls or (each.message.content or "").startswith("{")


def test_the_result_of_a_call_is_sent_to_the_model(client: openai.OpenAI) -> None:
    asked = {**ASKED, "tools": TOOLS, "seed": 1}
    first = client.chat.completions.create(
        **asked, messages=CHAT, tool_choice="required", parallel_tool_calls=False
    )
    message = first.choices[0].message
    assert message.tool_calls
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "done"}
    second = client.chat.completions.create(
        **{**asked, "max_tokens": 5}, messages=[*CHAT, message, result], logprobs=True
    )
    assert second.usage and first.usage and second.usage.prompt_tokens > first.usage.prompt_tokens
    assert second.choices[0].message.tool_calls is None and second.choices[0].message.content
    free = client.chat.completions.create(
        **{**asked, "max_tokens": 5}, messages=CHAT, tool_choice="none"
    )
    assert free.usage and free.usage.prompt_tokens < first.usage.prompt_tokens
    assert free.choices[0].message.tool_calls is None


@pytest.mark.parametrize("choice", ["required", "auto"])
@pytest.mark.parametrize("stream", [False, True])
def test_arguments_without_an_end_are_refused(
    client: openai.OpenAI, choice: Any, stream: bool
) -> None:
    """Their schema requires an object in each object."""
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    tool: Any = {"type": "function", "function": {"name": "x", "parameters": schema}}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    more = {"response_format": form} if choice == "auto" else {}
    kind = openai.APIError if stream else openai.BadRequestError
    with pytest.raises(kind, match="no answer of the requested form"):
        list(
            client.chat.completions.create(
                **ASKED, messages=CHAT, tools=[tool], tool_choice=choice, stream=stream, **more
            )
        )


@pytest.mark.parametrize("most", [1, 5])
def test_a_required_call_that_is_cut_leaves_no_text(client: openai.OpenAI, most: int) -> None:
    asked = {**ASKED, "max_tokens": most}
    found = client.chat.completions.create(
        **asked, messages=CHAT, tools=TOOLS, tool_choice="required"
    )
    assert told(found.choices[0]) == ("", [], "length")


def test_errors_name_what_is_wrong_with_a_function(client: openai.OpenAI) -> None:
    bad = {
        "type": "function",
        "function": {
            "name": "x",
            "parameters": {"properties": {"a": {"type": "nonsense"}}},
        },
    }
    nothing = {"type": "function", "function": {"name": "x", "parameters": {"properties": 5}}}
    for tool in (bad, nothing):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(
                **ASKED, messages=CHAT, tools=[ORDER, tool], tool_choice="required"
            )
        assert refused.value.param == "tools.1.function.parameters"
