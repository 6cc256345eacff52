"""Answers in the words of OpenAI's API, whole and in pieces."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from service.core.generation import Alternative, Delta, FinishReason, Token

Json = dict[str, Any]
REPLACEMENT = "\ufffd"


class Head(NamedTuple):
    """What all pieces of one answer have in common; ``created`` is in seconds since the epoch."""

    id: str
    created: int
    model: str
    fingerprint: str


class Whole(NamedTuple):
    """One answer as it was made."""

    text: str
    tokens: int
    chosen: tuple[Token, ...]
    finish: FinishReason


def usage(prompt: int, completion: int) -> Json:
    """How many tokens there were."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def chat(head: Head, answers: Sequence[Whole], counted: Json) -> Json:
    """A whole answer to a chat."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": each.text, "refusal": None},
            "logprobs": _chat_logprobs(each.chosen),
            "finish_reason": each.finish.value,
        }
        for index, each in enumerate(answers)
    ]
    return _document(head, "chat.completion", choices, usage=counted)


def chat_piece(head: Head, index: int, delta: Delta, *, first: bool) -> Json:
    """A piece of it; the first one names the role."""
    told: Json = {"role": "assistant"} if first else {}
    if delta.text or first:
        told["content"] = delta.text
    choice = {
        "index": index,
        "delta": told,
        "logprobs": _chat_logprobs(delta.chosen),
        "finish_reason": delta.finish.value if delta.finish else None,
    }
    return _document(head, "chat.completion.chunk", [choice])


def completion(head: Head, answers: Sequence[Whole], counted: Json) -> Json:
    """A whole completion."""
    choices = []
    for index, each in enumerate(answers):
        delta = Delta(each.text, each.tokens, each.chosen, each.finish)
        choices.append(_completion_choice(index, delta))
    return _document(head, "text_completion", choices, usage=counted)


def completion_piece(head: Head, index: int, delta: Delta, *, first: bool) -> Json:
    """A piece of it; the first one is as the others."""
    del first
    return _document(head, "text_completion", [_completion_choice(index, delta)])


def usage_piece(head: Head, kind: str, counted: Json) -> Json:
    """The piece after the last one, which has no choices."""
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
    """Null for a part of a character: which bytes it is cannot be told from its text."""
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
    """JSON has no infinity: OpenAI writes -9999 for what cannot come."""
    return max(logprob, -9999.0)
