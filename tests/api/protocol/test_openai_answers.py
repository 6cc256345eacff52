import json
from math import inf, log

from service.api.protocol.openai_answers import (
    Head,
    Whole,
    call_piece,
    calls,
    chat,
    chat_piece,
    completion,
    usage,
    usage_piece,
)
from service.core.generation import Alternative, CallPiece, Delta, FinishReason, Token, ToolCall

HEAD = Head("id", 5, "m", "1-abc")
TOKEN = Token(3, "é", log(0.5), (Alternative(3, "é", log(0.5)), Alternative(4, "\ufffd", -inf)))


def test_a_chat_answer() -> None:
    found = chat(HEAD, [Whole("é", 1, (TOKEN,), FinishReason.STOP)], usage(2, 0, 1))
    assert found["object"] == "chat.completion" and found["usage"]["total_tokens"] == 3
    (choice,) = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": "é", "refusal": None}
    (token,) = choice["logprobs"]["content"]
    assert (token["token"], token["bytes"]) == ("é", [195, 169])
    assert [each["bytes"] for each in token["top_logprobs"]] == [[195, 169], None]
    assert "Infinity" not in json.dumps(found)


def test_pieces_of_a_streamed_chat() -> None:
    first = chat_piece(HEAD, 0, Delta("a", 1), first=True)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "a"}
    last = chat_piece(HEAD, 1, Delta("", 9, (), FinishReason.LENGTH), first=False)
    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == "length"
    end = usage_piece(HEAD, "chat.completion.chunk", usage(1, 0, 1))
    assert end["choices"] == [] and end["usage"]["prompt_tokens"] == 1


def test_pieces_of_calls_have_the_id_of_the_whole_call() -> None:
    (_, whole) = calls(HEAD, 2, [ToolCall("a", "{}"), ToolCall("b", "{}")])
    first = call_piece(HEAD, 2, CallPiece(1, name="b"))
    assert first == {**whole, "index": 1, "function": {"name": "b", "arguments": ""}}
    rest = call_piece(HEAD, 2, CallPiece(1, "{}"))
    assert rest == {"index": 1, "function": {"arguments": "{}"}}


def test_a_completion_answer() -> None:
    found = completion(HEAD, [Whole("éb", 2, (TOKEN, TOKEN), FinishReason.LENGTH)], usage(1, 0, 2))
    logprobs = found["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["é", "é"] and logprobs["text_offset"] == [0, 1]
    assert logprobs["top_logprobs"][0] == {"é": log(0.5), "\ufffd": -9999.0}
