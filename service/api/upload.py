"""Upload of a model version: the body goes to disk as it comes, and is published as a whole."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from service.api.audit import Audit
from service.api.body import ClientGone, Receive
from service.api.edge import Responses, documented
from service.api.errors import status_of
from service.api.guard import ADMIN_KEY
from service.api.refusal import Refusal
from service.core.errors import (
    BodyTooLarge,
    MalformedRequest,
    QuantserveError,
    UnsupportedEncoding,
)
from service.core.events import Verb
from service.engine.publishing import Published, publish
from service.engine.root import Root

SLOWEST = 10_000
"""Bytes a second that a sender must keep up once its first ``seconds`` are over."""
BODY = {
    "requestBody": {
        "required": True,
        "description": "the bytes of model.onnx",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
ERRORS: Responses = (
    documented(400, "No ONNX model, not the announced one, cut short, or a bad name")
    | documented(401, "An admin key is needed")
    | documented(403, "Changes are closed, or not open to this client")
    | documented(409, "The version exists")
    | documented(413, "Larger than --max-upload-bytes")
    | documented(507, "The disk is full")
)


class UploadLimits(NamedTuple):
    """Bytes of one file, and seconds for which a sender may be silent."""

    bytes: int
    seconds: float


class UploadedVersion(BaseModel):
    """What was stored. It serves once it is swapped in."""

    name: str
    version: int
    bytes: int
    sha256: str
    precision: str = Field(examples=["INT8 QDQ"])


def upload_routes(root: Root, limits: UploadLimits, audit: Audit) -> APIRouter:
    """The route that stores a version in the model repository."""
    router = APIRouter(tags=["admin"], dependencies=[Depends(ADMIN_KEY)])

    # curl -T sends PUT; it is the same.
    @router.put("/admin/models/{name}/versions", status_code=201, include_in_schema=False)
    @router.post(
        "/admin/models/{name}/versions",
        status_code=201,
        response_model=UploadedVersion,
        responses=ERRORS,
        openapi_extra=BODY,
        summary="Upload a version",
    )
    async def upload(
        request: Request,
        name: str,
        version: Annotated[int | None, Query(description="the next one when left out")] = None,
        sha256: Annotated[str | None, Query(description="of the file, to check it")] = None,
        x_content_sha256: Annotated[str | None, Header(description="the same")] = None,
    ) -> Response:
        body = Body(request.receive, limits.seconds)
        try:
            with audit.change(request, Verb.UPLOAD, name) as change:
                change.after = version
                _check_headers(request, limits.bytes)
                await asyncio.to_thread(root.check_new_version, name)
                published = await publish(
                    root.path,
                    name,
                    version,
                    body.chunks(),
                    sha256=sha256 or x_content_sha256,
                    limit=limits.bytes,
                )
                change.after = published.number
        except ClientGone:
            return Response(status_code=499)  # nobody reads it
        except QuantserveError as error:
            if body.finished:
                raise
            return Refusal(str(error), status_of(error))
        return JSONResponse(_uploaded(name, published).model_dump(), 201)

    return router


class Body:
    """A body on its way; ``finished`` once all of it came."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self.finished = False
        self._receive = receive
        self._seconds = seconds

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece.

        Raises:
            MalformedRequest: the sender is silent for ``seconds``, or on the whole slower than one
                that means it.
            ClientGone: the client left before its end.
        """
        started, total = monotonic(), 0
        while not self.finished:
            left = started + self._seconds + total / SLOWEST - monotonic()
            try:
                async with asyncio.timeout(min(self._seconds, left)):
                    message = await self._receive()
            except TimeoutError:
                raise MalformedRequest(f"the upload stalled after {total} bytes") from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            total += len(chunk)
            self.finished = not message.get("more_body", False)
            yield chunk


def _check_headers(request: Request, limit: int) -> None:
    """Refuse what need not be read to be refused."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedEncoding(f'Content-Encoding "{encoding:.40}": send the file as it is')
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise BodyTooLarge(f"the model has {int(length)} bytes, the limit is {limit}")


def _uploaded(name: str, published: Published) -> UploadedVersion:
    return UploadedVersion(
        name=name,
        version=published.number,
        bytes=published.bytes,
        sha256=published.sha256,
        precision=str(published.precision),
    )
