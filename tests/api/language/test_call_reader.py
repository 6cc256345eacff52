import pytest

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

FUNCTIONS = (Function("now", {"type": "object"}, 0),)
AUTO = Tools(FUNCTIONS, ToolChoice.AUTO)
NAMED = Tools(FUNCTIONS, ToolChoice.REQUIRED, named=True)
NOW = (ToolCall("now", "{}"),)
PIECES = (CallPiece(0, name="now"), CallPiece(0, "{}"))
TOKEN = Token(5, "x", -1.0)


@pytest.mark.parametrize(
    ("tools", "called", "reason", "finish"),
    [
        (AUTO, True, FinishReason.STOP, FinishReason.TOOL_CALLS),
        (AUTO, True, FinishReason.LENGTH, FinishReason.LENGTH),
        (AUTO, False, FinishReason.STOP, FinishReason.STOP),
        (NAMED, True, FinishReason.STOP, FinishReason.STOP),
    ],
)
def test_the_finish_reason_is_that_of_openais_api(
    tools: Tools, called: bool, reason: FinishReason, finish: FinishReason
) -> None:
    whole = Whole("Well. ", 9, (), reason, NOW if called else ())
    assert CallReader(tools).whole(whole) == whole._replace(finish=finish)
    reader = CallReader(tools)
    reader.piece(Delta("Well. ", 5, calls=PIECES if called else ()))
    end = Delta("", 9, (), finish)
    assert reader.piece(Delta("", 9, (), reason)) == [(end, None)]


def test_text_calls_and_end_of_one_piece_are_told_in_order() -> None:
    found = CallReader(AUTO).piece(Delta("Well. ", 9, (TOKEN,), FinishReason.STOP, PIECES))
    assert found == [
        (Delta("Well. ", 9, (TOKEN,)), None),
        (Delta("", 9), PIECES[0]),
        (Delta("", 9), PIECES[1]),
        (Delta("", 9, (), FinishReason.TOOL_CALLS), None),
    ]


def test_tokens_without_text_are_told_before_a_call() -> None:
    found = CallReader(AUTO).piece(Delta("", 9, (TOKEN,), None, PIECES[:1]))
    assert found == [(Delta("", 9, (TOKEN,)), None), (Delta("", 9), PIECES[0])]
    assert CallReader(AUTO).piece(Delta("", 9, calls=PIECES[:1])) == [(Delta("", 9), PIECES[0])]


def test_text_alone_is_unchanged() -> None:
    delta = Delta("Well.", 2, (TOKEN,))
    assert CallReader(AUTO).piece(delta) == [(delta, None)]
