"""Triton's generate extension: one model continues a text.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_generate.md
The prompt is not repeated in the answer.
"""

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.api.control.error_handlers import Responses
from service.api.control.lookup import NOT_FOUND, NOT_READY, ModelName, VersionNumber
from service.api.language.answers import Answers, Exchange, collected, pieces, respond, streamed
from service.api.language.event_stream import event
from service.api.protocol.errors import status_of
from service.api.protocol.json_body import body_docs
from service.api.protocol.openai_requests import GenerateRequest, read_generate
from service.core.errors import NotFound, QuantserveError
from service.core.generation import GenerationRequest
from service.core.names import VERSION
from service.core.requests import DEFAULT_PRIORITY

if TYPE_CHECKING:
    from service.engine.generation.language_model import LanguageModel

PROTOCOL = "generate"
DEFAULT_TOKENS = 16
EXAMPLE = {"text_input": "Once upon a time", "parameters": {"max_tokens": 16, "temperature": 0}}
ERRORS: Responses = NOT_FOUND | NOT_READY


ROUTES = (
    ("/generate", "Continue a text", False),
    ("/generate_stream", "Continue a text, in pieces", True),
    ("/versions/{version}/generate", "Continue a text with one version", False),
    ("/versions/{version}/generate_stream", "Continue a text with one version, in pieces", True),
)
"""Path suffix after a model's name, summary, and whether the response is server-sent events."""


def generate(answers: Answers) -> APIRouter:
    """Return the routes of the extension."""
    router = APIRouter(prefix="/v2/models/{name}", tags=["generate"])
    docs = body_docs(GenerateRequest, EXAMPLE, required=True)
    for path, summary, stream in ROUTES:
        router.add_api_route(
            path,
            _route(answers, stream=stream, versioned="{version}" in path),
            methods=["POST"],
            summary=summary,
            responses=ERRORS,
            openapi_extra=docs,
        )
    return router


def _route(answers: Answers, *, stream: bool, versioned: bool) -> Callable[..., Any]:
    async def of_model(name: ModelName, request: Request) -> Response:
        return await _answer(answers, request, name, None, stream=stream)

    async def of_version(name: ModelName, version: VersionNumber, request: Request) -> Response:
        return await _answer(answers, request, name, version, stream=stream)

    return of_version if versioned else of_model


async def _answer(
    answers: Answers, request: Request, model: str, version: str | None, *, stream: bool
) -> Response:
    exchange = answers.open(request, PROTOCOL)

    async def work() -> Response:
        number = _number(model, version)
        asked = await answers.read(request, read_generate)
        await answers.begin(exchange, model, partial(_prompts, asked), number)
        if stream:
            events = _events(exchange, asked)
            return await streamed(answers, exchange, events, request.receive, _body)
        (found,) = await collected(answers, exchange, request.receive)
        return JSONResponse(_document(exchange, asked, found.text))

    return await respond(answers, exchange, work, _refused)


def _refused(error: QuantserveError) -> Response:
    return JSONResponse(_body(error), status_of(error))


def _body(error: QuantserveError) -> dict[str, str]:
    return {"error": str(error)}


def _prompts(asked: GenerateRequest, language: "LanguageModel") -> list[GenerationRequest]:
    tokens = tuple(language.tokenizer.encode(asked.text_input, special=True))
    request = GenerationRequest(
        tokens,
        asked.parameters(),
        asked.max_tokens or DEFAULT_TOKENS,
        asked.min_tokens or 0,
        asked.stops,
        bool(asked.ignore_eos),
        asked.priority or DEFAULT_PRIORITY,
    )
    return [request]


async def _events(exchange: Exchange, asked: GenerateRequest) -> AsyncGenerator[bytes, None]:
    async for _, delta in pieces(exchange.streams):
        yield event(_document(exchange, asked, delta.text))


def _document(exchange: Exchange, asked: GenerateRequest, text: str) -> dict[str, Any]:
    assert exchange.version is not None, "it was chosen. This is a bug."
    document: dict[str, Any] = {"id": asked.id} if asked.id else {}
    return document | {
        "model_name": exchange.model,
        "model_version": str(exchange.version.number),
        "text_output": text,
    }


def _number(model: str, version: str | None) -> int | None:
    if version is None or VERSION.fullmatch(version):
        return None if version is None else int(version)
    raise NotFound(f'model "{model}" version "{version:.40}" is not a number')
