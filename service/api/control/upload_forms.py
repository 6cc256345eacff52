"""The formats in which an upload may send the files of a version, by Content-Type."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping

from service.api.control.form_stream import form_files
from service.api.control.tar_stream import TarReader
from service.core.errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding
from service.core.magic import GZIP_MAGIC, TAR_MAGIC, TAR_MAGIC_AT
from service.engine.storage.contents import MAX_FILES
from service.engine.storage.publishing import File

FORM = "multipart/form-data"
TAR = {"application/x-tar", "application/tar", "application/x-gtar"}
GZIP = {"application/gzip", "application/x-gzip", "application/x-tgz"}
FRAMING = 4096 * MAX_FILES
"""Bytes that a form or archive may have in addition to its files: names, headers, padding."""
STEP = 2**17
"""The maximum number of bytes that are decompressed, and parsed as tar headers, without a pause."""
HEAD = TAR_MAGIC_AT + len(TAR_MAGIC)
GZIP_WINDOW = 31
"""zlib's window bits for the gzip format."""
Chunks = AsyncIterator[bytes]


def files_of(headers: Mapping[str, str], chunks: Chunks, limit: int) -> AsyncIterator[File | bytes]:
    """Return the files in a body, as they arrive. A body with any other Content-Type is one file.

    ``limit`` is the most bytes of all files together, and also of a compressed body.

    Raises:
        UnsupportedEncoding: the body is compressed, and not a tar archive in gzip.
        BodyTooLarge: the sender announces more than the limit.
    """
    content_type = headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    encoding = headers.get("content-encoding", "identity").strip().lower()
    _check_encoding(kind, encoding)
    framed = kind == FORM or kind in TAR | GZIP
    most = limit + FRAMING if framed else limit
    _check_length(headers.get("content-length", "0"), most, limit)
    if not framed:
        return _not_archived(chunks)
    chunks = _bounded(chunks, most, limit)
    if kind == FORM:
        return form_files(content_type, chunks)
    if encoding != "identity" or kind in GZIP:
        chunks = _bounded(_gunzipped(chunks), most, limit)
    return _tar_files(chunks)


def _check_encoding(kind: str, encoding: str) -> None:
    if kind.startswith("multipart/") and kind != FORM:
        raise UnsupportedEncoding(f'Content-Type "{kind:.80}", expected {FORM}')
    allowed = ("identity", "gzip", "x-gzip") if kind in TAR | GZIP else ("identity",)
    if encoding not in allowed:
        raise UnsupportedEncoding(
            f'Content-Encoding "{encoding:.40}": send the files uncompressed, or a tar archive'
            " in gzip"
        )


def _check_length(length: str, most: int, limit: int) -> None:
    if length.isdecimal() and int(length) > most:
        raise BodyTooLarge(f"the model has {int(length)} bytes, the limit is {limit}")


async def _bounded(chunks: Chunks, most: int, limit: int) -> Chunks:
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > most:
            raise BodyTooLarge(f"the upload has more than {limit} bytes")
        yield chunk


async def _not_archived(chunks: Chunks) -> Chunks:
    """Yield the body, after a check that it is not an archive.

    Raises:
        MalformedRequest: the body is an archive, but the Content-Type does not say so.
    """
    head = b""
    async for chunk in chunks:
        if len(head) < HEAD:
            head += chunk[: HEAD - len(head)]
            kind = _archive_type(head)
            if kind:
                raise MalformedRequest(
                    f"the body is an archive: send it with the header Content-Type: {kind}"
                )
        yield chunk


def _archive_type(head: bytes) -> str | None:
    if head.startswith(GZIP_MAGIC):
        return "application/gzip"
    return "application/x-tar" if head[TAR_MAGIC_AT:] == TAR_MAGIC else None


async def _tar_files(chunks: Chunks) -> AsyncIterator[File | bytes]:
    reader = TarReader()
    async for chunk in chunks:
        for piece in reader.feed(chunk):
            yield piece
    reader.close()


async def _gunzipped(chunks: Chunks) -> Chunks:
    """Decompress in steps of limited size, because a few bytes may expand to gigabytes.

    Raises:
        MalformedRequest: the body is not gzip, is cut short, or is followed by other bytes.
    """
    machine = zlib.decompressobj(GZIP_WINDOW)
    async for chunk in chunks:
        while chunk:
            if machine.eof:
                raise MalformedRequest("the gzip body is followed by other bytes")
            plain = await asyncio.to_thread(_step(machine), chunk)
            chunk = machine.unconsumed_tail or machine.unused_data
            yield plain
    while not machine.eof and (plain := await asyncio.to_thread(_step(machine), b"")):
        yield plain  # output that did not fit in the previous step
    if not machine.eof:
        raise MalformedRequest("the gzip body is cut short")


def _step(machine: "zlib._Decompress") -> Callable[[bytes], bytes]:
    def decompress(chunk: bytes) -> bytes:
        try:
            return machine.decompress(chunk, STEP)
        except zlib.error as error:
            raise MalformedRequest(f"the body is not gzip: {error}") from None

    return decompress
