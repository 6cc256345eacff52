"""Reading of a body for a route, within limits of bytes, time and memory."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from fastapi import Request

from service.api.protocol.json_tensors import Bytes
from service.api.transport.body import Grown, read_body
from service.api.transport.traffic import Traffic
from service.core.errors import BodyTimeout


class Limits(NamedTuple):
    """The maximum number of bytes of a request, the most seconds for it to arrive, and its memory
    budget."""

    bytes: int
    seconds: float
    traffic: Traffic


async def arrived(
    request: Request, headers: Mapping[bytes, bytes], limits: Limits, grown: Grown
) -> Bytes:
    """Return the whole body.

    Raises:
        BodyTimeout: the body does not arrive in time.
        BodyTooLarge, UnsupportedEncoding, ClientGone: see ``read_body``.
    """
    try:
        async with asyncio.timeout(limits.seconds):
            return await read_body(headers, request.receive, limits.bytes, grown)
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {limits.seconds:g} s") from None
