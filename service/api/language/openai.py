"""Chats and completions in the words of OpenAI's API, for any of its clients.

Source: https://platform.openai.com/docs/api-reference
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.api.control.error_handlers import Responses
from service.api.language.answers import (
    Answers,
    Exchange,
    Prompts,
    collected,
    pieces,
    respond,
    streamed,
)
from service.api.language.event_stream import DONE, event
from service.api.protocol import openai_answers, openai_errors
from service.api.protocol.json_body import body_docs
from service.api.protocol.openai_answers import Head, Json, Whole
from service.api.protocol.openai_requests import (
    MOST_CHOICES,
    Asked,
    ChatRequest,
    CompletionRequest,
    read,
)
from service.core.errors import BadArgument, InputRejected, QuantserveError
from service.core.generation import GenerationRequest
from service.core.requests import DEFAULT_PRIORITY

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
DEFAULT_TOKENS = 16
"""Of a completion that names no limit: OpenAI's default for these."""


class Form(NamedTuple):
    """How the answers of one route are written. ``prefix`` begins their ids, ``kind`` is what a
    piece says it is."""

    prefix: str
    kind: str
    whole: Callable[[Head, Sequence[Whole], Json], Json]
    piece: Callable[..., Json]


CHAT = Form("chatcmpl-", "chat.completion.chunk", openai_answers.chat, openai_answers.chat_piece)
COMPLETION = Form(
    "cmpl-", "text_completion", openai_answers.completion, openai_answers.completion_piece
)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was read: what it asks, how to make prompts of it and write its answers."""

    asked: Asked
    prompts: Prompts
    form: Form


Understand = Callable[[dict[str, Any]], Call]


def openai(answers: Answers) -> APIRouter:
    """The routes of language models."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.post(
        "/chat/completions",
        summary="Answer a chat",
        responses=STREAM,
        openapi_extra=body_docs(ChatRequest, CHAT_EXAMPLE, required=True),
    )
    async def chat(request: Request) -> Response:
        """OpenAI's chat completions, of a language model that has a chat template."""
        return await _answer(answers, request, _chat)

    @router.post(
        "/completions",
        summary="Continue a text",
        responses=STREAM,
        openapi_extra=body_docs(CompletionRequest, COMPLETION_EXAMPLE, required=True),
    )
    async def completions(request: Request) -> Response:
        """OpenAI's completions, of any language model."""
        return await _answer(answers, request, _completion)

    return router


async def _answer(answers: Answers, request: Request, understand: Understand) -> Response:
    exchange = answers.open(request, PROTOCOL)

    async def work() -> Response:
        call = await answers.read(request, understand)
        language = await answers.begin(exchange, call.asked.model, call.prompts)
        head, echo = _head(exchange, call), _echo(call.asked, language)
        if call.asked.stream:
            events = _events(exchange, call, head, echo)
            return await streamed(answers, exchange, events, request.receive, openai_errors.body)
        found = await collected(answers, exchange, request.receive)
        counted = _usage(exchange, call, sum(each.tokens for each in found))
        for place, before in enumerate(echo):
            found[place] = found[place]._replace(text=before + found[place].text)
        return JSONResponse(call.form.whole(head, found, counted))

    return await respond(answers, exchange, work, _refused)


def _refused(error: QuantserveError) -> Response:
    status, headers = openai_errors.status(error), openai_errors.headers(error)
    return JSONResponse(openai_errors.body(error), status, headers)


async def _events(
    exchange: Exchange, call: Call, head: Head, echo: Sequence[str]
) -> AsyncGenerator[bytes, None]:
    """The pieces of all answers, what they took, and the end."""
    made = dict.fromkeys(range(len(exchange.streams)), 0)
    begun: set[int] = set()
    async for place, delta in pieces(exchange.streams):
        first = place not in begun
        begun.add(place)
        made[place] = delta.tokens
        if first and echo:
            delta = delta._replace(text=echo[place] + delta.text)
        yield event(call.form.piece(head, place, delta, first=first))
    if call.asked.usage_last:
        counted = _usage(exchange, call, sum(made.values()))
        yield event(openai_answers.usage_piece(head, call.form.kind, counted))
    yield DONE


def _chat(document: dict[str, Any]) -> Call:
    """
    Raises:
        BadArgument: it is no chat.
    """
    asked = read(ChatRequest, document)
    messages = [message.for_template() for message in asked.messages]

    def prompts(language: "LanguageModel") -> list[GenerationRequest]:
        if language.template is None:
            raise _no_template(asked.model)
        text = language.template.render(messages)
        tokens = tuple(language.tokenizer.encode(text, special=False))
        return _requests(asked, language, tokens, asked.limit, asked.told)

    return Call(asked, prompts, CHAT)


def _completion(document: dict[str, Any]) -> Call:
    """
    Raises:
        BadArgument: it is no completion.
    """
    asked = read(CompletionRequest, document)
    if len(asked.prompts) * asked.choices > MOST_CHOICES:
        raise BadArgument(f"at most {MOST_CHOICES} answers may be asked for at once", "prompt")

    def prompts(language: "LanguageModel") -> list[GenerationRequest]:
        encode = language.tokenizer.encode
        made: list[GenerationRequest] = []
        for given in asked.prompts:
            tokens = tuple(encode(given, special=True) if isinstance(given, str) else given)
            limit = asked.max_tokens or DEFAULT_TOKENS
            made += _requests(asked, language, tokens, limit, asked.logprobs)
        return made

    return Call(asked, prompts, COMPLETION)


def _requests(
    asked: Asked,
    language: "LanguageModel",
    tokens: tuple[int, ...],
    limit: int | None,
    logprobs: int | None,
) -> list[GenerationRequest]:
    """One for each answer that is wanted of a prompt.

    Raises:
        InputRejected: the form that is asked for is not usable.
    """
    grammar = language.grammars.grammar(asked.form) if asked.form else None
    return [
        GenerationRequest(
            tokens,
            asked.parameters(logprobs, choice),
            limit,
            asked.min_tokens or 0,
            asked.stops,
            bool(asked.ignore_eos),
            asked.priority or DEFAULT_PRIORITY,
            constraint=grammar.copy() if grammar else None,
        )
        for choice in range(asked.choices)
    ]


def _head(exchange: Exchange, call: Call) -> Head:
    version = exchange.version
    assert version is not None and version.loaded is not None, "it was chosen. This is a bug."
    fingerprint = f"{version.number}-{version.loaded.sha256[:12]}"
    return Head(f"{call.form.prefix}{uuid4().hex}", int(time()), call.asked.model, fingerprint)


def _echo(asked: Asked, language: "LanguageModel") -> list[str]:
    """The texts of the prompts, one for each answer, where the answers are to begin with them."""
    if not (isinstance(asked, CompletionRequest) and asked.echo):
        return []
    decode = language.tokenizer.decode
    texts = [each if isinstance(each, str) else decode(each) for each in asked.prompts]
    return [text for text in texts for _ in range(asked.choices)]


def _usage(exchange: Exchange, call: Call, made: int) -> Json:
    """Tokens; those of a prompt count once, however many answers it has."""
    read_ = sum(stream.prompt_tokens for stream in exchange.streams[:: call.asked.choices])
    return openai_answers.usage(read_, made)


def _no_template(model: str) -> InputRejected:
    return InputRejected(
        f'model "{model}" has no chat template (chat_template.jinja): use /v1/completions'
    )
