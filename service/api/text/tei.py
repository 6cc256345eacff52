"""Embeddings, reranking and classification in the format of Text Embeddings Inference (TEI).

TEI serves one model. Here, ``model`` selects the model if several have the task.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.api.language.answers import Answers, respond
from service.api.protocol import openai_errors
from service.api.text.choosing import only_model, with_task
from service.api.text.embeddings import TEXTS, body
from service.core.errors import QuantserveError
from service.core.texts import Task

if TYPE_CHECKING:
    from service.api.protocol.text_requests import EmbedRequest, PredictRequest, RerankRequest
    from service.api.text.asking import Outputs

PROTOCOL = "tei"
TASKS = {
    "/embed": Task.EMBEDDING,
    "/rerank": Task.RERANKING,
    "/predict": Task.CLASSIFICATION,
}
"""The task of each route."""
STRING, FLAG = {"type": "string"}, {"type": "boolean"}
STRINGS: dict[str, Any] = {"type": "array", "items": STRING, "minItems": 1}
QUERY = "How long does it take?"
Asked = TypeVar("Asked", "EmbedRequest", "RerankRequest", "PredictRequest")


def tei(answers: Answers) -> APIRouter:
    """The routes of TEI."""
    router = APIRouter()

    @router.post(
        "/embed",
        summary="Embed texts, in TEI's form",
        tags=[Task.EMBEDDING.value],
        openapi_extra=body(
            {"model": "minilm", "inputs": ["The harbour was quiet."]},
            ["inputs"],
            model=STRING,
            inputs=TEXTS,
            normalize=FLAG,
            truncate=FLAG,
            dimensions={"type": "integer", "minimum": 1},
        ),
    )
    async def embed(request: Request) -> Response:
        """Return a list of vectors, one for each text."""
        from service.api.protocol import text_answers
        from service.api.protocol.text_requests import EmbedRequest

        def write(asked: EmbedRequest, found: "Outputs") -> bytes:
            return text_answers.embed(found.arrays[0])

        return await _answer(answers, request, Task.EMBEDDING, EmbedRequest, write)

    @router.post(
        "/rerank",
        summary="Sort texts by how well they answer a query",
        tags=[Task.RERANKING.value],
        openapi_extra=body(
            {"model": "reranker", "query": QUERY, "texts": ["An hour.", "The sea is blue."]},
            ["query", "texts"],
            model=STRING,
            query=STRING,
            texts=STRINGS,
            raw_scores=FLAG,
            return_text=FLAG,
            truncate=FLAG,
        ),
    )
    async def rerank(request: Request) -> Response:
        """Return the index and the score of each text, the best first."""
        from service.api.protocol import text_answers
        from service.api.protocol.text_requests import RerankRequest

        def write(asked: RerankRequest, found: "Outputs") -> bytes:
            return text_answers.rerank(found.arrays[0], asked.texts if asked.return_text else None)

        return await _answer(answers, request, Task.RERANKING, RerankRequest, write)

    @router.post(
        "/predict",
        summary="Classify texts",
        tags=[Task.CLASSIFICATION.value],
        openapi_extra=body(
            {"model": "sentiment", "inputs": [["What a day."], ["It never worked."]]},
            ["inputs"],
            model=STRING,
            inputs={"oneOf": [STRING, STRINGS, {"type": "array", "items": STRINGS}]},
            raw_scores=FLAG,
            truncate=FLAG,
        ),
    )
    async def predict(request: Request) -> Response:
        """Return all labels of each text with their scores, the best first."""
        from service.api.protocol import text_answers
        from service.api.protocol.text_requests import PredictRequest

        def write(asked: PredictRequest, found: "Outputs") -> bytes:
            scores = found.arrays[2]
            labels = [found.model.label(place) for place in range(scores.shape[1])]
            return text_answers.predict(scores, labels, asked.single)

        return await _answer(answers, request, Task.CLASSIFICATION, PredictRequest, write)

    return router


async def _answer(
    answers: Answers,
    request: Request,
    task: Task,
    kind: type[Asked],
    write: Callable[[Asked, "Outputs"], bytes],
) -> Response:
    # Imported at the first request, to save memory on servers that get no such requests.
    from service.api.protocol.openai_requests import read
    from service.api.text.asking import encoded, outputs

    exchange = answers.open(request, PROTOCOL)

    async def work() -> Response:
        asked = await answers.read(request, lambda document: read(kind, document))
        exchange.model = asked.model if asked.model is not None else _only(answers, task)
        found = await outputs(
            answers, exchange, request.receive, task, asked.prompts, asked.options
        )
        content = await encoded(found.arrays[-1], lambda: write(asked, found))
        answers.conclude(exchange)
        return Response(content, media_type="application/json")

    return await respond(answers, exchange, work, refused)


def _only(answers: Answers, task: Task) -> str:
    return only_model(task, [each.model for each in with_task(answers.repository, task)])


def refused(error: QuantserveError) -> Response:
    """Return the response for an error, in TEI's format. A full queue is 429, as with OpenAI."""
    status = openai_errors.status(error)
    kind = "Overloaded" if status == 429 else "Validation" if status < 500 else "Backend"
    content = {"error": str(error), "error_type": kind}
    return JSONResponse(content, status, openai_errors.headers(error))
