from service.api.language.call_reader import CallReader
from service.api.protocol.openai_answers import Whole
from service.core.generation import (
    CallPiece,
    Delta,
    FinishReason,
    Function,
    Token,
    ToolCall,
    ToolChoice,
    Tools,
)
from service.engine.generation.tool_syntax import TAGGED

FUNCTIONS = (Function("now", {"type": "object"}, 0),)
AUTO = Tools(FUNCTIONS, ToolChoice.AUTO)
NAMED = Tools(FUNCTIONS, ToolChoice.REQUIRED, named=True)
TEXT = 'Well. <tool_call>{"name": "now"}</tool_call>'
NOW = (ToolCall("now", "{}"),)


def test_an_answer_with_a_tool_call_finishes_with_tool_calls() -> None:
    found = CallReader(TAGGED, AUTO).whole(Whole(TEXT, 9, (), FinishReason.STOP))
    assert found == Whole("Well. ", 9, (), FinishReason.TOOL_CALLS, NOW)


def test_other_finish_reasons_are_unchanged() -> None:
    for tools, text, finish in (
        (AUTO, TEXT, FinishReason.LENGTH),
        (AUTO, "Well.", FinishReason.STOP),
        (NAMED, TEXT, FinishReason.STOP),
    ):
        assert CallReader(TAGGED, tools).whole(Whole(text, 9, (), finish)).finish is finish


def test_streamed_text_and_calls_are_separated() -> None:
    reader = CallReader(TAGGED, AUTO)
    assert reader.piece(Delta(TEXT[:10], 1)) == [(Delta("Well. ", 1), None)]
    assert reader.piece(Delta(TEXT[10:15], 2)) == []
    assert reader.piece(Delta(TEXT[15:], 3)) == [
        (Delta("", 3), CallPiece(0, name="now")),
        (Delta("", 3), CallPiece(0, "{}")),
    ]
    end = Delta("<tool", 4, (), FinishReason.TOOL_CALLS)
    assert reader.piece(Delta(" <tool", 4, (), FinishReason.STOP)) == [(end, None)]


def test_text_calls_and_end_of_one_piece_are_told_in_order() -> None:
    token = Token(5, "x", -1.0)
    found = CallReader(TAGGED, AUTO).piece(Delta(TEXT + TEXT[6:], 9, (token,), FinishReason.STOP))
    assert found[0] == (Delta("Well. ", 9, (token,)), None)
    assert [call.place for _, call in found if call] == [0, 0, 1, 1]
    assert found[-1] == (Delta("", 9, (), FinishReason.TOOL_CALLS), None)


def test_an_answer_that_is_cut_has_the_arguments_so_far() -> None:
    text = TEXT[6:-13] + ', "arguments": {"zone": "U'
    found = CallReader(TAGGED, NAMED).whole(Whole(text, 9, (), FinishReason.LENGTH))
    assert found == Whole("", 9, (), FinishReason.LENGTH, (ToolCall("now", '{"zone": "U'),))
