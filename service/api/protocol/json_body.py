"""The small JSON bodies of the control plane. They are parsed by hand: Triton's clients send no
Content-Type, and an empty body for no settings."""

import asyncio
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from service.api.protocol.byte_order import is_blank
from service.api.protocol.json_tensors import parse_json
from service.core.errors import BodyTimeout, BodyTooLarge

COMPONENTS = "#/components/schemas/{model}"
LIMIT = 64 * 1024
"""Bytes; nothing that is asked of the control plane in JSON comes near."""
SECONDS = 5.0
"""For so little to arrive."""


async def json_object(request: Request) -> dict[str, Any]:
    """The body's JSON object; an empty one for an empty body.

    Raises:
        MalformedRequest: it is something else.
        BodyTooLarge: it has more than ``LIMIT`` bytes.
        BodyTimeout: it does not arrive within ``SECONDS``.
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
    """Such a body in the OpenAPI document: its model, and an example that works.

    Models inside of it are under ``$defs``; ``openapi`` moves them to where the references lead.
    """
    schema = model.model_json_schema(ref_template=COMPONENTS)
    content = {"schema": schema, "example": example}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}
