from typing import Any

import pytest

from service.api.protocol.openai_chat import ChatRequest
from service.api.protocol.openai_requests import read
from service.core.errors import BadArgument
from service.core.generation import ToolChoice

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
TOOLS = [{"type": "function", "function": {"name": "time"}}]


def called(arguments: str) -> dict[str, Any]:
    function = {"name": "time", "arguments": arguments}
    return {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }


def test_other_fields_of_a_message_are_passed_to_the_template() -> None:
    message = {"role": "assistant", "content": None, "name": "x", "tool_calls": []}
    (found,) = read(ChatRequest, {**CHAT, "messages": [message]}).messages
    assert found.for_template(0) == {"role": "assistant", "content": "", "name": "x"}


def test_arguments_of_earlier_calls_are_passed_to_the_template_as_objects() -> None:
    (found,) = read(ChatRequest, {**CHAT, "messages": [called('{"zone": "UTC"}')]}).messages
    (call,) = found.for_template(0)["tool_calls"]
    assert call["function"] == {"name": "time", "arguments": {"zone": "UTC"}}


@pytest.mark.parametrize("arguments", ["{", "5", "[" * 100_000])
def test_arguments_that_are_not_an_object_are_named_in_the_error(arguments: str) -> None:
    (found,) = read(ChatRequest, {**CHAT, "messages": [called(arguments)]}).messages
    with pytest.raises(BadArgument) as refused:
        found.for_template(3)
    assert refused.value.param == "messages.3.tool_calls.0.function.arguments"


def test_tools_may_be_called_only_if_the_request_has_tools() -> None:
    assert read(ChatRequest, CHAT).callable() is None
    assert read(ChatRequest, {**CHAT, "tools": TOOLS, "tool_choice": "none"}).callable() is None
    found = read(ChatRequest, {**CHAT, "tools": TOOLS}).callable()
    assert found is not None and found.choice is ToolChoice.AUTO
