"""Embeddings in the form of OpenAI's API."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api.language.answers import Answers, respond
from service.api.language.openai import refused
from service.core.texts import Task

PROTOCOL = "openai"
TEXTS: dict[str, Any] = {
    "oneOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}, "minItems": 1},
    ]
}
"""One text, several texts, the tokens of one text, or the tokens of several texts."""


def body(example: dict[str, Any], required: list[str], **properties: Any) -> dict[str, Any]:
    """Return the request body of a route for the OpenAPI document."""
    schema = {"type": "object", "required": required, "properties": properties}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def embeddings(answers: Answers) -> APIRouter:
    """The route of embeddings."""
    router = APIRouter(tags=[Task.EMBEDDING.value])

    @router.post(
        "/v1/embeddings",
        summary="Embed texts, in OpenAI's form",
        openapi_extra=body(
            {"model": "minilm", "input": "The harbour was quiet."},
            ["model", "input"],
            model={"type": "string"},
            input=TEXTS,
            encoding_format={"enum": ["float", "base64"]},
            dimensions={"type": "integer", "minimum": 1},
        ),
    )
    async def route(request: Request) -> Response:
        """Return embeddings of texts. The model must have the task "embedding". The model's
        settings decide if texts that are too long are cut or refused, unless ``truncate`` is set.
        """
        return await _answer(answers, request)

    return router


async def _answer(answers: Answers, request: Request) -> Response:
    # Imported at the first request, to save memory on servers that get no such requests.
    from service.api.protocol.openai_requests import read
    from service.api.protocol.text_answers import embeddings as written
    from service.api.protocol.text_requests import EmbeddingsRequest
    from service.api.text.asking import encoded, outputs

    exchange = answers.open(request, PROTOCOL)

    async def work() -> Response:
        asked = await answers.read(request, lambda document: read(EmbeddingsRequest, document))
        exchange.model = asked.model
        found = await outputs(
            answers, exchange, request.receive, Task.EMBEDDING, asked.prompts, asked.options
        )
        (vectors,) = found.arrays
        base64 = asked.encoding_format == "base64"
        content = await encoded(
            vectors, lambda: written(asked.model, vectors, found.tokens, base64)
        )
        answers.conclude(exchange)
        return Response(content, media_type="application/json")

    return await respond(answers, exchange, work, refused)
