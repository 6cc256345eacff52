"""Answers of the control plane that hold figures: null for what JSON cannot carry."""

from typing import Any

from fastapi.responses import JSONResponse

from service.core.figures import finite


class FiniteJSON(JSONResponse):
    """JSON in which NaN and infinity are null; Starlette's own raises for them."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return super().render(finite(content))
