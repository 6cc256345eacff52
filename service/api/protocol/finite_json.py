"""Answers of the control plane with figures: JSON with null for NaN and infinity."""

from typing import Any

from fastapi.responses import JSONResponse

from service.core.figures import finite


class FiniteJSON(JSONResponse):
    """JSON in which NaN and infinity are null. Starlette's own class raises an error for them."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return super().render(finite(content))
