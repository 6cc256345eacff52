"""A body on its way to a route, within limits of bytes, time and memory."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from fastapi import Request

from service.api.protocol.json_tensors import Bytes
from service.api.transport.body import Grown, read_body
from service.api.transport.traffic import Traffic
from service.core.errors import BodyTimeout


class Limits(NamedTuple):
    """Bytes of one request, seconds that it may take to arrive, and what its memory is of."""

    bytes: int
    seconds: float
    traffic: Traffic


async def arrived(
    request: Request, headers: Mapping[bytes, bytes], limits: Limits, grown: Grown
) -> Bytes:
    """The whole body.

    Raises:
        BodyTimeout: it does not arrive in time.
        BodyTooLarge, UnsupportedEncoding, ClientGone: see ``read_body``.
    """
    try:
        async with asyncio.timeout(limits.seconds):
            return await read_body(headers, request.receive, limits.bytes, grown)
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {limits.seconds:g} s") from None
