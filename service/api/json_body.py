"""The small JSON bodies of the control plane. They are read by hand: Triton's clients send no
Content-Type, and an empty body where there is nothing to say.
"""

from typing import Any

from fastapi import Request
from pydantic import BaseModel

from service.api.json_tensors import parse_json
from service.core.errors import BodyTooLarge

LIMIT = 64 * 1024
"""Bytes; nothing that is asked of the control plane in JSON comes near."""


async def json_object(request: Request) -> dict[str, Any]:
    """The body's JSON object; an empty one for an empty body.

    Raises:
        MalformedRequest: it is something else.
        BodyTooLarge: it has more than ``LIMIT`` bytes.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT:
            raise BodyTooLarge(f"the body has more than {LIMIT} bytes")
    return parse_json(body) if body.strip() else {}


def body_docs(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """What the OpenAPI document says of such a body: its model, and an example that works."""
    content = {"schema": model.model_json_schema(), "example": example}
    return {"requestBody": {"required": False, "content": {"application/json": content}}}
