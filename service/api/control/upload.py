"""Upload of a model version: the body is written to disk as it arrives, then published at once."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Sequence
from pathlib import PurePosixPath
from time import monotonic
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from service.api.auth.audit import Audit
from service.api.control.error_handlers import Responses, documented
from service.api.control.upload_forms import files_of
from service.api.protocol.errors import status_of
from service.api.transport.body import ClientGone, Receive
from service.api.transport.refusal import Refusal
from service.core.errors import InvalidName, MalformedRequest, QuantserveError, UploadRejected
from service.core.events import Verb
from service.engine.host.paths import file_path
from service.engine.storage.publishing import Published, publish
from service.engine.storage.root import Root

SLOWEST = 10_000
"""Bytes per second that a sender must reach on average after its first ``seconds``."""
MOST_SHOWN = 8
"""The maximum number of files in the command that a refusal shows."""
KEY = "QUANTSERVE_ADMIN_KEY"
BINARY = {"type": "string", "format": "binary"}
BODY = {
    "requestBody": {
        "required": True,
        "description": "One or more files: the model and the external data that it names. The"
        " model is `model.onnx`, else the only file that ends in `.onnx`. Other files are refused.",
        "content": {
            "application/octet-stream": {
                "schema": {**BINARY, "description": "The bytes of the model only."}
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": "Each part with a filename is a file; the names of the parts do"
                    " not matter. A part may announce its SHA-256 in a header `X-Content-SHA256`.",
                    "properties": {"file": {"type": "array", "items": BINARY}},
                }
            },
            "application/x-tar": {
                "schema": {
                    **BINARY,
                    "description": "A tar archive of plain files. It may be compressed by gzip,"
                    " with `Content-Encoding: gzip` or as application/gzip.",
                }
            },
            "application/gzip": {"schema": {**BINARY, "description": "A tar archive, in gzip."}},
        },
    }
}
ERRORS: Responses = (
    documented(400, "Not an ONNX model, a wrong SHA-256, a body that is cut short, a missing file,"
                    " an unexpected file, or an invalid name")
    | documented(401, "An admin key is needed")
    | documented(403, "The server has no admin key, or the key allows predictions only")
    | documented(409, "The version exists")
    | documented(413, "Larger than --max-upload-bytes, or too many files")
    | documented(415, "The body is compressed, and not a tar archive in gzip")
    | documented(507, "The disk is full")
)  # fmt: skip


class UploadLimits(NamedTuple):
    """The maximum number of bytes of a version's files, and the most seconds without data from the
    sender."""

    bytes: int
    seconds: float


class UploadedVersion(BaseModel):
    """The stored version. It serves after a swap to it. ``bytes`` counts all files. ``sha256`` is
    the digest of the model."""

    name: str
    version: int
    bytes: int
    sha256: str
    precision: str = Field(examples=["INT8 QDQ"])


def upload_routes(root: Root, limits: UploadLimits, audit: Audit) -> APIRouter:
    """Return the route that stores a version in the model repository."""
    router = APIRouter(tags=["admin"])

    # curl -T sends PUT; both methods do the same.
    @router.put(
        "/admin/models/{name}/versions",
        status_code=201,
        response_model=UploadedVersion,
        responses=ERRORS,
        openapi_extra=BODY,
        summary="Upload a version, as curl -T does",
    )
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
        version: Annotated[int | None, Query(description="default: the next version")] = None,
        sha256: Annotated[str | None, Query(description="the model's SHA-256 to check")] = None,
        x_content_sha256: Annotated[str | None, Header(description="the same as sha256")] = None,
    ) -> Response:
        body = Body(request.receive, limits.seconds)
        try:
            with audit.change(request, Verb.UPLOAD, name) as change:
                change.after = version
                await asyncio.to_thread(root.check_new_version, name)
                pieces = files_of(request.headers, body.chunks(), limits.bytes)
                published = await publish(
                    root.path,
                    name,
                    version,
                    pieces,
                    sha256=sha256 or x_content_sha256,
                    limit=limits.bytes,
                )
                change.after = published.number
        except ClientGone:
            return Response(status_code=499)  # the client does not read it
        except QuantserveError as error:
            error = _with_remedy(error, request)
            if body.finished:
                raise error from None
            return Refusal({"error": str(error)}, status_of(error))
        return JSONResponse(_uploaded(name, published).model_dump(), 201)

    return router


class Body:
    """A body while it arrives. ``finished`` is True when all of it has arrived."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self.finished = False
        self._receive = receive
        self._seconds = seconds

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body, piece by piece.

        Raises:
            MalformedRequest: the sender sends nothing for ``seconds``, or is slower on average than
                ``SLOWEST``.
            ClientGone: the client disconnected before the end of the body.
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


def _with_remedy(error: QuantserveError, request: Request) -> QuantserveError:
    """Return the error. If files were missing, add the command that sends them."""
    missing = error.missing if isinstance(error, UploadRejected) else ()
    try:
        paths = [file_path(name) for name in missing]
    except InvalidName as reason:
        return UploadRejected(f"{error}; it cannot be sent under that name: {reason}")
    return UploadRejected(f"{error}; {_command(paths, request)}") if paths else error


def _command(paths: Sequence[PurePosixPath], request: Request) -> str:
    curl = f'curl -H "X-API-Key: ${KEY}"'
    address = shlex.quote(str(request.url))
    if len(paths) > MOST_SHOWN:
        return (
            "send all files at once, from a folder that has no other files: tar -cf - . |"
            f" {curl} -T - -H 'Content-Type: application/x-tar' {address}"
        )
    parts = [f"file=@{path}" + (f";filename={path}" if path.parent.name else "") for path in paths]
    files = " ".join(f"-F {shlex.quote(part)}" for part in ("file=@model.onnx", *parts))
    return f"send all files at once: {curl} {files} {address}"


def _uploaded(name: str, published: Published) -> UploadedVersion:
    return UploadedVersion(
        name=name,
        version=published.number,
        bytes=published.bytes,
        sha256=published.sha256,
        precision=str(published.precision),
    )
