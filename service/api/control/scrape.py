"""The page that Prometheus reads, in the format that its Accept header asks for."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from fastapi.responses import Response

Render = Callable[[str], Awaitable[tuple[bytes, str]]]
"""From an Accept header to the page and its content type."""


def scrape(render: Render) -> APIRouter:
    """The route for Prometheus."""
    router = APIRouter(tags=["metrics"])

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics(request: Request) -> Response:
        body, content_type = await render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return router
