"""Reads multipart/form-data as it arrives: the parts that are files, and their bytes."""

from collections.abc import AsyncIterator

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from service.core.errors import BodyTooLarge, InvalidName, MalformedRequest
from service.engine.storage.publishing import File

MAX_BOUNDARY = 200
MAX_HEADER = 4096
MAX_HEADERS = 8
"""The maximum number of header lines of one part; ``MAX_HEADER`` is the most bytes of a line."""
DIGEST = "X-Content-Sha256"


async def form_files(
    content_type: str, chunks: AsyncIterator[bytes]
) -> AsyncIterator[File | bytes]:
    """Yield the files of a form. A part's header ``X-Content-SHA256`` announces the digest of its
    file.

    Raises:
        MalformedRequest: the body is not a form, is cut short, or has a part that is not a file.
        InvalidName: a file's name has a backslash.
        BodyTooLarge: the headers of a part are too large.
    """
    try:
        parser = PushMultipartParser(
            _boundary(content_type), max_header_size=MAX_HEADER, max_header_count=MAX_HEADERS
        )
        async for chunk in chunks:
            for event in parser.parse(chunk) if chunk else ():
                if isinstance(event, MultipartSegment):
                    yield _file(event)
                elif event is not None:
                    yield bytes(event)
        parser.close()
    except ParserLimitReached as error:
        raise BodyTooLarge(f"the multipart form: {error}") from None
    except MultipartError as error:
        raise MalformedRequest(f"the multipart form cannot be read: {error}") from None


def _boundary(content_type: str) -> str:
    boundary: str = parse_options_header(content_type)[1].get("boundary", "")
    if not 0 < len(boundary) <= MAX_BOUNDARY:
        raise MalformedRequest(
            f'Content-Type multipart/form-data needs a "boundary" of 1 to {MAX_BOUNDARY} characters'
        )
    return boundary


def _file(part: MultipartSegment) -> File:
    headers = dict(part.headerlist)
    if part.filename is None:
        raise MalformedRequest(
            f"the part {part.name!r:.80} of the form has no filename; send each file as curl -F"
            " file=@FILE does, and the version and the SHA-256 in the query of the URL"
        )
    if "\\" in headers["Content-Disposition"]:
        # Form parsers do not agree on the meaning of a backslash.
        raise InvalidName(f"there is a backslash in the file name {part.filename!r:.200}")
    return File(part.filename, headers.get(DIGEST))
