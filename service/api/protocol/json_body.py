"""The small JSON bodies of the control plane. FastAPI does not parse them, because Triton's clients
send no Content-Type, and an empty body if there are no settings."""

import asyncio
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from service.api.protocol.byte_order import is_blank
from service.api.protocol.json_tensors import parse_json
from service.core.errors import BodyTimeout, BodyTooLarge

COMPONENTS = "#/components/schemas/{model}"
LIMIT = 64 * 1024
"""The maximum number of bytes; all valid JSON bodies of the control plane are much smaller."""
SECONDS = 5.0
"""Timeout for such a small body to arrive."""


async def json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body; an empty object for an empty body.

    Raises:
        MalformedRequest: the body is not a JSON object.
        BodyTooLarge: the body has more than ``LIMIT`` bytes.
        BodyTimeout: the body does not arrive within ``SECONDS``.
    """
    body = b""
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LIMIT:
                    raise BodyTooLarge(f"the body has more than {LIMIT} bytes")
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {SECONDS:g} s") from None
    return {} if is_blank(body) else parse_json(body)


def body_docs(
    model: type[BaseModel], example: dict[str, Any], *, required: bool = False
) -> dict[str, Any]:
    """Return the description of such a body for the OpenAPI document: its model, and an example.

    Nested models are under ``$defs``; ``openapi`` moves them to the targets of the references.
    """
    schema = model.model_json_schema(ref_template=COMPONENTS)
    content = {"schema": schema, "example": example}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}
