"""The interactive documentation. Its files are in an installed package, because servers often have
no internet access. Its links are relative, so that it works behind any prefix.
"""

import asyncio
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, Response

from service.api.protocol.finite_json import FiniteJSON
from service.core.errors import NotFound

FOLDER = Path(str(files("fastapi_offline"))) / "static"
ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
A_DAY = {"cache-control": "max-age=86400"}
SETTINGS = {"tryItOutEnabled": True, "defaultModelsExpandDepth": 0, "displayRequestDuration": True}


def openapi(document: Callable[[], Awaitable[dict[str, Any]]]) -> APIRouter:
    """Return the route of the OpenAPI document, which names the models. ``document`` builds it."""
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    async def whole() -> Response:
        return await asyncio.to_thread(FiniteJSON, await document())

    return router


def docs() -> APIRouter:
    """Return the routes of the interactive documentation, which is the same on every server."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def page() -> HTMLResponse:
        return get_swagger_ui_html(
            title="quantserve",
            openapi_url="openapi.json",
            swagger_js_url=f"docs/assets/{ASSETS[0]}",
            swagger_css_url=f"docs/assets/{ASSETS[1]}",
            swagger_favicon_url=f"docs/assets/{ASSETS[2]}",
            swagger_ui_parameters=SETTINGS,
        )

    @router.get("/docs/assets/{name}")
    async def asset(name: str) -> FileResponse:
        if name not in ASSETS:
            raise NotFound(f'the documentation has no "{name:.80}"')
        return FileResponse(FOLDER / name, headers=A_DAY)

    return router
