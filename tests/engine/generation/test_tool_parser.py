"""Tool calls in texts that are split into pieces of any size."""

import json
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.generation import CallPiece, Parsed, ToolCall, joined
from service.engine.generation.tool_parser import ToolParser
from service.engine.generation.tool_syntax import LISTED, PARAMETERS, PLAIN, TAGGED, ToolSyntax

SUM = ToolCall("sum", '{"a": 1, "b": [2, 3]}')
CALL = '{"name": "sum", "arguments": {"a": 1, "b": [2, 3]}}'
TAG, END = "<tool_call>", "</tool_call>"
NO_NAME = '<tool_call>{"name": ["sum"]}</tool_call>'
UNKNOWN = '<tool_call>{"name": "rm"}</tool_call>'
FIRST = '{"arguments": {"a": 1, "b": [2, 3]}, "name": "sum"}'
OPEN = '{"name": "sum", "arguments": {"a": "x'
Calls = list[ToolCall]


def parsed(syntax: ToolSyntax, pieces: Iterable[str], *, single: bool = False) -> tuple[str, Calls]:
    parser = ToolParser(syntax, ["sum", "now"], single=single)
    found = [*(parser.push(each) for each in pieces), parser.flush()]
    calls: Calls = []
    for each in found:
        for piece in each.calls:
            if piece.name is not None:
                assert piece == CallPiece(len(calls), "", piece.name)
                calls.append(ToolCall(piece.name, ""))
            else:
                assert piece.place == len(calls) - 1 and piece.arguments
                last = calls[-1]
                calls[-1] = last._replace(arguments=last.arguments + piece.arguments)
    assert parser.told == len(calls)
    return "".join(each.text for each in found), calls


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("syntax", "text", "shown", "calls"),
    [
        (TAGGED, "No <tool of mine.", "No <tool of mine.", []),
        (TAGGED, f"<tool_call>\n{CALL}\n</tool_call>", "", [SUM]),
        (TAGGED, f"Yes.{TAG}{CALL}</tool_call>\n{TAG}{CALL}</tool_call>\n", "Yes.", [SUM] * 2),
        (TAGGED, f"<tool_call>{CALL}</tool_call> Done. ", "Done. ", [SUM]),
        (TAGGED, f"{TAG}[{CALL}, {CALL}]{END}", "", [SUM, SUM]),
        (TAGGED, f"\n \n{TAG}{CALL}{END}\n", "", [SUM]),
        (TAGGED, f"\n Yes. {TAG}{CALL}{END}", "\n Yes. ", [SUM]),
        (TAGGED, f"\n {UNKNOWN}", f"\n {UNKNOWN}", []),
        (TAGGED, "\n ", "\n ", []),
        (TAGGED, f"{TAG}{FIRST}{END}", "", [SUM]),
        (TAGGED, "<tool_call>5</tool_call>", "<tool_call>5</tool_call>", []),
        (TAGGED, NO_NAME, NO_NAME, []),
        (TAGGED, UNKNOWN, UNKNOWN, []),
        (TAGGED, f"{UNKNOWN}{TAG}{CALL}{END}", UNKNOWN, [SUM]),
        (TAGGED, f"{TAG}{TAG}{CALL}{END}", TAG, [SUM]),
        (TAGGED, '<tool_call>{"name": "now"}</tool_call>', "", [ToolCall("now", "{}")]),
        (
            TAGGED,
            '<tool_call>{"name": "sum", "arguments": {"a": "</tool_call>"}}</tool_call>',
            "",
            [ToolCall("sum", '{"a": "</tool_call>"}')],
        ),
        (LISTED, f"[TOOL_CALLS][{CALL}, {CALL}]", "", [SUM, SUM]),
        (LISTED, f" [TOOL_CALLS] {CALL}", "", [SUM]),
        (LISTED, f" [{CALL}]", "", [SUM]),
        (LISTED, "[TOO bad]", "[TOO bad]", []),
        (LISTED, f"[5, {CALL}]", f"[5, {CALL}]", []),
        (PARAMETERS, CALL.replace("arguments", "parameters"), "", [SUM]),
        (PARAMETERS, f"Call {CALL}", f"Call {CALL}", []),
        (PLAIN, f'{{"id": [1, "]"], "n": -1.5e3, {CALL[1:]}', "", [SUM]),
        (PLAIN, f'{CALL[:-1]}, "name": "x", "arguments": 5}}', "", [SUM]),
        (PLAIN, FIRST, "", [SUM]),
        (PLAIN, '{"a": 1, ', '{"a": 1, ', []),
        (PLAIN, '{"name": "now", "arguments": null}', '{"name": "now", "arguments": null}', []),
        (PLAIN, '{"name": @}', '{"name": @}', []),
        (PLAIN, '{"a": @}', '{"a": @}', []),
        (PLAIN, '{"a": 1}', '{"a": 1}', []),
        (PLAIN, "\n ", "\n ", []),
        (PLAIN, "", "", []),
    ],
)  # fmt: skip
def test_text_and_calls_are_separated(
    syntax: ToolSyntax, text: str, shown: str, calls: Calls, size: int
) -> None:
    assert parsed(syntax, cut(text, size)) == (shown, calls)


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(
    ("syntax", "text", "shown", "calls"),
    [
        (TAGGED, f'{TAG}{{"name": "su', f'{TAG}{{"name": "su', []),
        (TAGGED, TAG + OPEN, "", [ToolCall("sum", '{"a": "x')]),
        (TAGGED, TAG + CALL[:-1], "", [SUM]),
        (TAGGED, f"{TAG}{CALL}</tool", "", [SUM]),
        (TAGGED, f"{TAG}{CALL[:-1]}{END} Done.", "Done.", [SUM]),
        (TAGGED, f"{TAG}{CALL} Done.", "Done.", [SUM]),
        (LISTED, f"[{CALL}, {OPEN}", "", [SUM, ToolCall("sum", '{"a": "x')]),
        (LISTED, f"[{CALL}, 5]", ", 5]", [SUM]),
        (PLAIN, f"{CALL} Done.", "Done.", [SUM]),
        (PLAIN, f'{CALL[:-1]}, "id": "x', "", [SUM]),
    ],
)  # fmt: skip
def test_a_call_stays_a_call_if_the_answer_ends_or_goes_on_otherwise(
    syntax: ToolSyntax, text: str, shown: str, calls: Calls, size: int
) -> None:
    assert parsed(syntax, cut(text, size)) == (shown, calls)


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("syntax", "text", "calls"),
    [
        (LISTED, CALL, []),
        (LISTED, f"[TOOL_CALLS]{CALL}", []),
        (LISTED, f"[TOOL_CALLS][{CALL}]", [SUM]),
        (LISTED, f"[{CALL}]", [SUM]),
        (TAGGED, CALL, []),
        (TAGGED, f"{TAG}{CALL}{END}", [SUM]),
    ],
)
def test_an_object_that_looks_like_a_call_is_text_if_the_answer_may_be_an_object(
    syntax: ToolSyntax, text: str, calls: Calls, size: int
) -> None:
    parser = ToolParser(syntax, ["sum"], or_object=True)
    found = [*(parser.push(each) for each in cut(text, size)), parser.flush()]
    assert joined(piece for each in found for piece in each.calls) == tuple(calls)
    assert "".join(each.text for each in found) == ("" if calls else text)


def test_text_and_arguments_are_returned_at_once() -> None:
    parser = ToolParser(TAGGED, ["sum"])
    assert parser.push("Let me see. <tool") == Parsed("Let me see. ")
    assert parser.push('_call>{"name": "sum", "argu') == Parsed()
    assert parser.push('ments": {"a') == Parsed("", (CallPiece(0, name="sum"), CallPiece(0, '{"a')))
    assert parser.push('": "\\') == Parsed("", (CallPiece(0, '": "\\'),))
    assert parser.push('"}"}}</tool_') == Parsed("", (CallPiece(0, '"}"}'),))
    assert parser.push("call> And") == Parsed("And")
    assert parser.flush() == Parsed()


TWICE = f"Yes. {TAG}{CALL}{END}\n{TAG}{CALL}{END}"


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(
    ("syntax", "text", "end", "shown", "calls"),
    [
        (TAGGED, TWICE, f"Yes. {TAG}{CALL}", "Yes. ", [SUM]),
        (TAGGED, f"{TAG}{CALL} Done.", TAG + CALL, "", [SUM]),
        (TAGGED, f"{TAG}[{CALL}, {CALL}]{END}", f"{TAG}[{CALL}", "", [SUM]),
        (TAGGED, f"{TAG}{CALL[:-1]} {TAG}{CALL}{END}", f"{TAG}{CALL[:-1]} <", "", [SUM]),
        (TAGGED, f"{UNKNOWN}{TAG}{CALL}{END}", f"{UNKNOWN}{TAG}{CALL}", UNKNOWN, [SUM]),
        (TAGGED, TAG + OPEN, None, "", [ToolCall("sum", '{"a": "x')]),
        (TAGGED, NO_NAME, None, NO_NAME, []),
        (LISTED, f"[TOOL_CALLS][{CALL}, {CALL}]", f"[TOOL_CALLS][{CALL}", "", [SUM]),
        (LISTED, f"[5, {CALL}]", None, f"[5, {CALL}]", []),
        (PARAMETERS, f"{CALL} Done.", CALL, "", [SUM]),
        (PLAIN, f"{FIRST}; {FIRST}", FIRST, "", [SUM]),
        (PLAIN, "Done.", None, "Done.", []),
    ],
)  # fmt: skip
def test_an_answer_with_a_single_call_ends_where_the_call_ends(
    syntax: ToolSyntax, text: str, end: str | None, shown: str, calls: Calls, size: int
) -> None:
    assert parsed(syntax, cut(text, size), single=True) == (shown, calls)
    parser = ToolParser(syntax, ["sum", "now"], single=True)
    ends = next((at for at in range(len(text)) if parser.push(text[at]) and parser.over), None)
    assert ends == (None if end is None else len(end) - 1)


@pytest.mark.parametrize("syntax", [TAGGED, LISTED, PARAMETERS, PLAIN])
def test_a_required_call_that_is_cut_leaves_no_text(syntax: ToolSyntax) -> None:
    call = f"{syntax.begin}{'[' if syntax.listed else ''}{CALL}"
    for length in range(len(call)):
        parser = ToolParser(syntax, ["sum"], required=True)
        found = [parser.push(call[:length]), parser.flush()]
        assert not any(each.text for each in found)


PARTS = [
    TAG, END, "[TOOL_CALLS]", "[", "]", "{", "}", ",", " ", "\n", '"', "\\", ":", "5", "<tool", "é",
    CALL, FIRST, OPEN, '{"name": "sum", "arguments": ', '"sum"', '"name"', '"arguments": {', "Hi.",
]  # fmt: skip


@given(
    st.sampled_from([TAGGED, LISTED, PARAMETERS, PLAIN]),
    st.lists(st.sampled_from(PARTS), max_size=12).map("".join),
    st.sets(st.integers(1, 300)),
    st.booleans(),
)
def test_the_result_does_not_depend_on_the_pieces(
    syntax: ToolSyntax, text: str, places: set[int], single: bool
) -> None:
    ends = [0, *sorted(at for at in places if at < len(text)), len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(ends)]
    whole = parsed(syntax, [text], single=single)
    assert parsed(syntax, pieces, single=single) == whole
    assert parsed(syntax, text, single=single) == whole
    assert whole[1] or whole[0] == text
    assert not single or whole[1] == parsed(syntax, [text])[1][:1]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=4,
)


@given(
    st.sampled_from([TAGGED, LISTED, PARAMETERS, PLAIN]),
    st.dictionaries(st.text(), JSON),
    st.booleans(),
    st.integers(1, 20),
)
def test_arguments_are_returned_as_the_model_writes_them(
    syntax: ToolSyntax, values: dict[str, object], ascii_only: bool, size: int
) -> None:
    arguments = json.dumps(values, ensure_ascii=ascii_only)
    call = f'{{"name": "now", "{syntax.key}": {arguments}}}'
    text = f"{syntax.begin}[{call}]" if syntax.listed else f"{syntax.begin}{call}{syntax.end}"
    assert parsed(syntax, cut(text, size)) == ("", [ToolCall("now", arguments)])


def test_many_false_ends_of_calls_are_parsed_fast() -> None:
    parser = ToolParser(TAGGED, ["sum"])
    text = '<tool_call>{"name": "' + "</tool_call>" * 5000
    for at in range(0, len(text), 12):
        assert parser.push(text[at : at + 12]) == Parsed()
    assert parser.flush().text == text


@pytest.mark.parametrize("begin", [TAG, '<tool_call>{"a": [', '<tool_call>{"a'])
def test_many_false_beginnings_of_calls_are_parsed_fast(begin: str) -> None:
    assert parsed(TAGGED, [begin * 20_000]) == (begin * 20_000, [])


def test_deep_nesting_is_no_problem() -> None:
    assert parsed(PLAIN, cut("[" * 100_000, 50_000)) == ("[" * 100_000, [])
    call = f'{{"name": "sum", "arguments": {{"a": {"[" * 100_000}'
    ((found,),) = parsed(PLAIN, cut(call, 50_000))[1:]
    assert len(found.arguments) == 100_006


def test_arguments_may_be_a_string_of_json() -> None:
    text = '{"name": "sum", "arguments": "{\\"a\\": 1}"}'
    assert parsed(PLAIN, cut(text, 5)) == ("", [ToolCall("sum", '{"a": 1}')])
    text = '{"name": "sum", "arguments": "\\ud800"}'
    assert parsed(PLAIN, cut(text, 5)) == (text, [])
