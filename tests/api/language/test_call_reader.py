from service.api.language.call_reader import CallReader
from service.api.protocol.openai_answers import Whole
from service.core.generation import Delta, FinishReason, Function, ToolCall, ToolChoice, Tools
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
    assert reader.piece(Delta(TEXT[:10], 1)) == (Delta("Well. ", 1), ())
    assert reader.piece(Delta(TEXT[10:], 2)) == (Delta("", 2), NOW)
    end, calls = reader.piece(Delta(" <tool", 3, (), FinishReason.STOP))
    assert (end.text.strip(), calls, end.finish) == ("<tool", (), FinishReason.TOOL_CALLS)
