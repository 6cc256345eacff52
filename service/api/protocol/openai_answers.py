"""Answers in the format of OpenAI's API, whole and in pieces."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from service.core.generation import (
    Alternative,
    CallPiece,
    Delta,
    FinishReason,
    Token,
    ToolCall,
)

Json = dict[str, Any]
REPLACEMENT = "\ufffd"


class Head(NamedTuple):
    """The common fields of all pieces of one answer; ``created`` is in seconds since the epoch."""

    id: str
    created: int
    model: str
    fingerprint: str


class Whole(NamedTuple):
    """One complete answer. ``calls`` are its calls of functions, which are not in ``text``."""

    text: str
    tokens: int
    chosen: tuple[Token, ...]
    finish: FinishReason
    calls: tuple[ToolCall, ...] = ()


def usage(prompt: int, cached: int, completion: int) -> Json:
    """Return the token counts. ``cached`` are tokens of the prompt that were not read again."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def chat(head: Head, answers: Sequence[Whole], counted: Json) -> Json:
    """Return a whole answer to a chat."""
    choices = [
        {
            "index": index,
            "message": _message(head, index, each),
            "logprobs": _chat_logprobs(each.chosen),
            "finish_reason": each.finish.value,
        }
        for index, each in enumerate(answers)
    ]
    return _document(head, "chat.completion", choices, usage=counted)


def calls(head: Head, index: int, found: Sequence[ToolCall]) -> list[Json]:
    """Return the calls of an answer in OpenAI's format."""
    return [_call(head, index, place, *call) for place, call in enumerate(found)]


def call_piece(head: Head, index: int, piece: CallPiece) -> Json:
    """Return a piece of a call in OpenAI's format. Only the first piece has the name and the id."""
    if piece.name is None:
        return {"index": piece.place, "function": {"arguments": piece.arguments}}
    found = _call(head, index, piece.place, piece.name, piece.arguments)
    return {"index": piece.place, **found}


def _call(head: Head, index: int, place: int, name: str, arguments: str) -> Json:
    """Return a call, or its first piece. Ids are unique within a chat; they have nine letters and
    digits, which even the strictest chat templates accept."""
    key = f"{head.id}-{index}-{place}".encode()
    return {
        "id": blake2b(key, digest_size=5).hexdigest()[:9],
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _message(head: Head, index: int, answer: Whole) -> Json:
    told: Json = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.calls:
        told["content"] = answer.text or None
        told["tool_calls"] = calls(head, index, answer.calls)
    return told


def chat_piece(
    head: Head, index: int, delta: Delta, *, first: bool, calls: Sequence[Json] = ()
) -> Json:
    """Return a piece of an answer to a chat; the first piece has the role."""
    told: Json = {"role": "assistant"} if first else {}
    if delta.text or first:
        told["content"] = delta.text
    if calls:
        told["tool_calls"] = calls
    choice = {
        "index": index,
        "delta": told,
        "logprobs": _chat_logprobs(delta.chosen),
        "finish_reason": delta.finish.value if delta.finish else None,
    }
    return _document(head, "chat.completion.chunk", [choice])


def completion(head: Head, answers: Sequence[Whole], counted: Json) -> Json:
    """Return a whole completion."""
    choices = []
    for index, each in enumerate(answers):
        delta = Delta(each.text, each.tokens, each.chosen, each.finish)
        choices.append(_completion_choice(index, delta))
    return _document(head, "text_completion", choices, usage=counted)


def completion_piece(head: Head, index: int, delta: Delta, *, first: bool) -> Json:
    """Return a piece of a completion; the first piece is not special."""
    del first
    return _document(head, "text_completion", [_completion_choice(index, delta)])


def usage_piece(head: Head, kind: str, counted: Json) -> Json:
    """Return the final piece with the token counts and without choices."""
    return _document(head, kind, [], usage=counted)


def _document(head: Head, kind: str, choices: list[Json], **more: Any) -> Json:
    return {
        "id": head.id,
        "object": kind,
        "created": head.created,
        "model": head.model,
        "system_fingerprint": head.fingerprint,
        "choices": choices,
        **more,
    }


def _completion_choice(index: int, delta: Delta) -> Json:
    return {
        "index": index,
        "text": delta.text,
        "logprobs": _completion_logprobs(delta.chosen),
        "finish_reason": delta.finish.value if delta.finish else None,
    }


def _chat_logprobs(chosen: Sequence[Token]) -> Json | None:
    if not chosen:
        return None
    content = [
        {
            **_token(each.text, each.logprob),
            "top_logprobs": [_token(top.text, top.logprob) for top in each.top],
        }
        for each in chosen
    ]
    return {"content": content, "refusal": None}


def _token(text: str, logprob: float) -> Json:
    return {"token": text, "logprob": _finite(logprob), "bytes": _bytes(text)}


def _bytes(text: str) -> list[int] | None:
    """Return the bytes of a token; None for a part of a character, whose text does not show its
    bytes."""
    return None if REPLACEMENT in text else list(text.encode())


def _completion_logprobs(chosen: Sequence[Token]) -> Json | None:
    if not chosen:
        return None
    return {
        "tokens": [each.text for each in chosen],
        "token_logprobs": [_finite(each.logprob) for each in chosen],
        "top_logprobs": [_alternatives(each.top) for each in chosen],
        "text_offset": _offsets(chosen),
    }


def _alternatives(top: Sequence[Alternative]) -> dict[str, float]:
    return {each.text: _finite(each.logprob) for each in top}


def _offsets(chosen: Sequence[Token]) -> list[int]:
    offsets, at = [], 0
    for each in chosen:
        offsets.append(at)
        at += len(each.text)
    return offsets


def _finite(logprob: float) -> float:
    """Limit a log probability to at least -9999, as OpenAI does: JSON has no infinity."""
    return max(logprob, -9999.0)
