"""Byte order marks before JSON, which editors and shells of Windows write. No I/O."""

import codecs

from service.core.errors import MalformedRequest

UTF8 = codecs.BOM_UTF8
MARKS = {
    # UTF-32 first: its mark begins with the bytes of the UTF-16 mark.
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def after_mark(document: bytes | bytearray | memoryview) -> memoryview | None:
    """Return the document after its UTF-8 byte order mark; None if it has no such mark.

    Raises:
        MalformedRequest: the document has the mark of another encoding.
    """
    start = bytes(document[:6])
    for mark, name in MARKS.items():
        if start.startswith(mark):
            raise MalformedRequest(f"the body is {name}, expected JSON in UTF-8")
    # Two marks are not accepted.
    one = start.startswith(UTF8) and not start.startswith(UTF8 * 2)
    return memoryview(document)[len(UTF8) :] if one else None


def is_blank(document: bytes | bytearray) -> bool:
    """Return True if a body is empty, apart from white space and a byte order mark."""
    return not document.removeprefix(UTF8).strip()
