"""Chats and completions in the form of OpenAI's API.

Source: https://platform.openai.com/docs/api-reference
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from time import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.api.control.error_handlers import Responses
from service.api.language.answers import (
    Answers,
    Exchange,
    collected,
    pieces,
    respond,
    streamed,
)
from service.api.language.call_reader import CallReader
from service.api.language.event_stream import DONE, event
from service.api.language.openai_calls import Call, chat_call, completion_call
from service.api.protocol import openai_answers, openai_errors
from service.api.protocol.json_body import body_docs
from service.api.protocol.openai_answers import Head, Json
from service.api.protocol.openai_chat import ChatRequest
from service.api.protocol.openai_requests import Asked, CompletionRequest
from service.core.errors import QuantserveError
from service.core.generation import Delta

if TYPE_CHECKING:
    from service.engine.generation.language_model import LanguageModel

PROTOCOL = "openai"
STREAM: Responses = {
    200: {
        "description": "The answer, or its pieces as server-sent events up to [DONE]",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
CHAT_EXAMPLE = {"model": "smollm2", "messages": [{"role": "user", "content": "Hello!"}]}
COMPLETION_EXAMPLE = {"model": "smollm2", "prompt": "Once upon a time", "max_tokens": 16}
Understand = Callable[[dict[str, Any]], Call]


def openai(answers: Answers) -> APIRouter:
    """Return the routes of language models."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.post(
        "/chat/completions",
        summary="Answer a chat",
        responses=STREAM,
        openapi_extra=body_docs(ChatRequest, CHAT_EXAMPLE, required=True),
    )
    async def chat(request: Request) -> Response:
        """OpenAI's chat completions. The model must be a language model with a chat template."""
        return await _answer(answers, request, chat_call)

    @router.post(
        "/completions",
        summary="Continue a text",
        responses=STREAM,
        openapi_extra=body_docs(CompletionRequest, COMPLETION_EXAMPLE, required=True),
    )
    async def completions(request: Request) -> Response:
        """OpenAI's completions, for any language model."""
        return await _answer(answers, request, completion_call)

    return router


async def _answer(answers: Answers, request: Request, understand: Understand) -> Response:
    exchange = answers.open(request, PROTOCOL)

    async def work() -> Response:
        call = await answers.read(request, understand)
        language = await answers.begin(exchange, call.asked.model, call.prompts)
        head, echo = _head(exchange, call), _echo(call.asked, language)
        readers = [call.reader() for _ in exchange.streams]
        if call.asked.stream:
            events = _events(exchange, call, head, echo, readers)
            return await streamed(answers, exchange, events, request.receive, openai_errors.body)
        found = await collected(answers, exchange, request.receive)
        pairs = zip(readers, found, strict=True)
        found = [reader.whole(each) if reader else each for reader, each in pairs]
        counted = _usage(exchange, call, sum(each.tokens for each in found))
        for place, before in enumerate(echo):
            found[place] = found[place]._replace(text=before + found[place].text)
        return JSONResponse(call.form.whole(head, found, counted))

    return await respond(answers, exchange, work, refused)


def refused(error: QuantserveError) -> Response:
    """Return the response for an error, in the format of OpenAI's API."""
    status, headers = openai_errors.status(error), openai_errors.headers(error)
    return JSONResponse(openai_errors.body(error), status, headers)


async def _events(
    exchange: Exchange,
    call: Call,
    head: Head,
    echo: Sequence[str],
    readers: Sequence[CallReader | None],
) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of all answers, the usage, and the end marker as events."""
    made = dict.fromkeys(range(len(exchange.streams)), 0)
    begun: set[int] = set()
    async for place, delta in pieces(exchange.streams):
        for other in range(place):  # OpenAI's client expects answers to begin in their order
            if other not in begun:
                begun.add(other)
                opening = Delta(echo[other] if echo else "", 0)
                yield event(call.form.piece(head, other, opening, first=True))
        first = place not in begun
        begun.add(place)
        made[place] = delta.tokens
        if first and echo:
            delta = delta._replace(text=echo[place] + delta.text)
        reader = readers[place]
        if reader is None:
            yield event(call.form.piece(head, place, delta, first=first))
            continue
        for part, piece in reader.piece(delta):
            told = [openai_answers.call_piece(head, place, piece)] if piece else []
            yield event(call.form.piece(head, place, part, first=first, calls=told))
            first = False
    if call.asked.usage_last:
        counted = _usage(exchange, call, sum(made.values()))
        yield event(openai_answers.usage_piece(head, call.form.kind, counted))
    yield DONE


def _head(exchange: Exchange, call: Call) -> Head:
    version = exchange.version
    assert version is not None and version.loaded is not None, "it was chosen. This is a bug."
    fingerprint = f"{version.number}-{version.loaded.sha256[:12]}"
    return Head(f"{call.form.prefix}{uuid4().hex}", int(time()), call.asked.model, fingerprint)


def _echo(asked: Asked, language: "LanguageModel") -> list[str]:
    """Return the text of the prompt for each answer, if the answers must begin with it."""
    if not (isinstance(asked, CompletionRequest) and asked.echo):
        return []
    decode = language.tokenizer.decode
    texts = [each if isinstance(each, str) else decode(each) for each in asked.prompts]
    return [text for text in texts for _ in range(asked.choices)]


def _usage(exchange: Exchange, call: Call, made: int) -> Json:
    """Return the token counts. The tokens of a prompt count once, even if it has many answers."""
    first = exchange.streams[:: call.asked.choices]
    prompt, cached = (
        sum(stream.prompt_tokens for stream in first),
        sum(stream.reused_tokens for stream in first),
    )
    return openai_answers.usage(prompt, cached, made)
