"""Byte order marks before JSON, as editors and shells of Windows write them. Pure."""

import codecs

from service.core.errors import MalformedRequest

UTF8 = codecs.BOM_UTF8
MARKS = {
    # The longer ones first: UTF-32 begins as UTF-16 does.
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def after_mark(document: bytes | bytearray | memoryview) -> memoryview | None:
    """What follows a UTF-8 byte order mark; None where there is no such mark.

    Raises:
        MalformedRequest: the mark is that of another encoding.
    """
    start = bytes(document[:6])
    for mark, name in MARKS.items():
        if start.startswith(mark):
            raise MalformedRequest(f"the body is {name}, expected JSON in UTF-8")
    # A second mark is no mark.
    one = start.startswith(UTF8) and not start.startswith(UTF8 * 2)
    return memoryview(document)[len(UTF8) :] if one else None


def is_blank(document: bytes | bytearray) -> bool:
    """Whether a body is empty, apart from white space and a byte order mark."""
    return not document.removeprefix(UTF8).strip()
