from hypothesis import given
from hypothesis import strategies as st

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
from service.engine.generation.tool_parser import joined
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


@given(
    st.sampled_from([TEXT, f"{TEXT}\n{TEXT[6:]} Bye.", TEXT[:-25], 'No <tool_call>{"name": "x"}']),
    st.lists(st.integers(1, 9), min_size=1),
    st.sampled_from([FinishReason.STOP, FinishReason.LENGTH]),
)
def test_the_parts_of_any_pieces_add_up_to_the_whole_answer(
    text: str, sizes: list[int], finish: FinishReason
) -> None:
    whole = CallReader(TAGGED, AUTO).whole(Whole(text, 9, (), finish))
    reader, rest, parts = CallReader(TAGGED, AUTO), text, []
    for number, size in enumerate(sizes, 1):
        last = number == len(sizes)
        piece, rest = (rest, "") if last else (rest[:size], rest[size:])
        token = Token(number, piece, 0.0)
        parts += reader.piece(Delta(piece, number, (token,), finish if last else None))
    assert "".join(delta.text for delta, _ in parts) == whole.text
    assert joined(call for _, call in parts if call) == whole.calls
    assert [delta.finish for delta, _ in parts if delta.finish] == [whole.finish]
    assert parts[-1][0].finish == whole.finish
    told = [token.token for delta, _ in parts for token in delta.chosen]
    assert told == list(range(1, len(sizes) + 1))
