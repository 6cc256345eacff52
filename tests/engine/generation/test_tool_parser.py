"""Tool calls in texts that are split into pieces of any size."""

import json

import pytest

from service.core.generation import ToolCall
from service.engine.generation.tool_parser import Parsed, ToolParser
from service.engine.generation.tool_syntax import LISTED, PARAMETERS, PLAIN, TAGGED, ToolSyntax

SUM = ToolCall("sum", '{"a": 1, "b": [2, 3]}')
CALL = '{"name": "sum", "arguments": {"a": 1, "b": [2, 3]}}'
TAG = "<tool_call>"
NO_NAME = '<tool_call>{"name": ["sum"]}</tool_call>'
UNKNOWN = '<tool_call>{"name": "rm"}</tool_call>'
NOT_JSON = '{"name": "sum", "arguments": {"a": NaN}}'


def parsed(syntax: ToolSyntax, text: str, size: int) -> Parsed:
    parser = ToolParser(syntax, ["sum", "now"])
    found = [parser.push(text[at : at + size]) for at in range(0, len(text), size)]
    found.append(parser.flush())
    calls = tuple(call for each in found for call in each.calls)
    assert parser.told == len(calls)
    return Parsed("".join(each.text for each in found), calls)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("syntax", "text", "shown", "calls"),
    [
        (TAGGED, "No <tool of mine.", "No <tool of mine.", []),
        (TAGGED, f"<tool_call>\n{CALL}\n</tool_call>", "", [SUM]),
        (TAGGED, f"Yes.{TAG}{CALL}</tool_call>\n{TAG}{CALL}</tool_call>\n", "Yes.", [SUM] * 2),
        (TAGGED, f"<tool_call>{CALL}</tool_call> Done. ", "Done. ", [SUM]),
        (TAGGED, f"<tool_call>{CALL}", f"<tool_call>{CALL}", []),
        (TAGGED, "<tool_call>5</tool_call>", "<tool_call>5</tool_call>", []),
        (TAGGED, NO_NAME, NO_NAME, []),
        (TAGGED, UNKNOWN, UNKNOWN, []),
        (TAGGED, '<tool_call>{"name": "now"}</tool_call>', "", [ToolCall("now", "{}")]),
        (
            TAGGED,
            '<tool_call>{"name": "sum", "arguments": {"a": "</tool_call>"}}</tool_call>',
            "",
            [ToolCall("sum", '{"a": "</tool_call>"}')],
        ),
        (LISTED, f"[TOOL_CALLS][{CALL}, {CALL}]", "", [SUM, SUM]),
        (LISTED, f" [{CALL}]", "", [SUM]),
        (LISTED, "[TOO bad]", "[TOO bad]", []),
        (LISTED, f"[{CALL}, 5]", f"[{CALL}, 5]", []),
        (PARAMETERS, CALL.replace("arguments", "parameters"), "", [SUM]),
        (PARAMETERS, f"Call {CALL}", f"Call {CALL}", []),
        (PLAIN, NOT_JSON, NOT_JSON, []),
        (PLAIN, "", "", []),
    ],
)  # fmt: skip
def test_text_and_calls_are_separated(
    syntax: ToolSyntax, text: str, shown: str, calls: list[ToolCall], size: int
) -> None:
    assert parsed(syntax, text, size) == Parsed(shown, tuple(calls))


def test_text_is_returned_at_once_and_a_call_when_complete() -> None:
    parser = ToolParser(TAGGED, ["sum"])
    assert parser.push("Let me see. <tool") == Parsed("Let me see. ")
    assert parser.push("_call>" + CALL) == Parsed()
    assert parser.push("</tool_call>") == Parsed("", (SUM,))


def test_many_false_ends_of_calls_are_parsed_fast() -> None:
    parser = ToolParser(TAGGED, ["sum"])
    text = '<tool_call>{"name": "' + "</tool_call>" * 5000
    for at in range(0, len(text), 12):
        assert parser.push(text[at : at + 12]) == Parsed()
    assert parser.flush().text == text


def test_deeply_nested_arguments_are_text() -> None:
    text = "[" * 100_000
    assert parsed(PLAIN, text, 50_000) == Parsed(text)


@pytest.mark.parametrize("value", ["1e400", '"\\ud800"', "NaN"])
def test_arguments_that_are_not_json_are_text(value: str) -> None:
    text = f'{{"name": "sum", "arguments": {{"a": {value}}}}}'
    assert parsed(PLAIN, text, 5) == Parsed(text)


def test_arguments_are_kept_as_json() -> None:
    (call,) = parsed(PLAIN, '{"name": "sum", "arguments": {"a": "ä\\u2028\\""}}', 5).calls
    assert json.loads(call.arguments) == {"a": 'ä\u2028"'}
    (call,) = parsed(PLAIN, '{"name": "sum", "arguments": "{\\"a\\": 1}"}', 5).calls
    assert call.arguments == '{"a": 1}'
