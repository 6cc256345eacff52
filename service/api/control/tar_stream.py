"""Reads a tar archive as it arrives: the input is bytes, the output is files and their bytes.

``tarfile`` itself needs a blocking reader, keeps headers of any announced size in memory, follows
chains of headers by recursion, and accepts an archive that is cut short. So only its parser of one
header block is used. Entries that are not plain files or folders are refused.

Source: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
"""

import tarfile
from collections.abc import Iterator
from tarfile import BLOCKSIZE, TarInfo

from service.core.errors import BodyTooLarge, MalformedRequest, UploadRejected
from service.core.magic import GZIP_MAGIC
from service.engine.host.paths import file_path
from service.engine.storage.contents import MAX_FILES
from service.engine.storage.publishing import File

FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)
"""Entries with metadata of the next entry or of all entries: by POSIX, and GNU tar's for long
names."""
MAX_EXTENDED = 2**16
MAX_ENTRIES = 4 * MAX_FILES
"""Folders and extended headers are counted too."""


class TarReader:
    """Parser of one archive. ``close`` checks that the archive is complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = self._padding = self._extended = self._entries = 0
        self._kind = b""
        self._next: dict[str, str] = {}
        self._ended = False

    def feed(self, data: bytes) -> Iterator[File | bytes]:
        """Parse more bytes. Yield files, and their contents piece by piece.

        Raises:
            MalformedRequest: the bytes are not a tar archive.
            InvalidName: the name of an entry is not allowed.
            UploadRejected: an entry is not a file: a link, a device or similar.
            BodyTooLarge: there are too many entries, or an extended header is too large.
        """
        self._buffer += data
        if not self._entries and self._buffer.startswith(GZIP_MAGIC):
            raise MalformedRequest(
                "the archive is compressed: send it as Content-Type: application/gzip"
            )
        while self._buffer and len(self._buffer) >= self._needed():
            if self._left:
                piece = self._take(min(self._left, len(self._buffer)))
                self._left -= len(piece)
                yield piece
            elif self._padding:
                self._padding -= len(self._take(min(self._padding, len(self._buffer))))
            elif self._extended:
                self._read_extended()
            elif self._ended:
                self._expect_zeros()
            elif file := self._read_header():
                yield file

    def close(self) -> None:
        """Check that the archive is complete.

        Raises:
            MalformedRequest: the archive is cut short.
        """
        if not self._entries and not self._ended and not self._buffer:
            raise MalformedRequest("the upload is empty, expected a tar archive")
        if not self._ended:
            missing = f"{self._left} bytes of a file" if self._left else "its end"
            raise MalformedRequest(f"the tar archive is cut short: {missing} did not arrive")

    def _needed(self) -> int:
        if self._left or self._padding or self._ended:
            return 1
        return self._extended + -self._extended % BLOCKSIZE or BLOCKSIZE

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _expect_zeros(self) -> None:
        if any(self._take(len(self._buffer))):
            raise MalformedRequest("the tar archive is followed by other bytes")

    def _read_header(self) -> File | None:
        block = self._take(BLOCKSIZE)
        if not any(block):
            self._ended = True
            return None
        info = self._parsed(block)
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise BodyTooLarge(f"the tar archive has more than {MAX_ENTRIES} entries")
        if info.type in EXTENDED:
            self._begin_extended(info)
            return None
        said, self._next = self._next, {}
        name = said.get("path", info.name).removeprefix("./")
        size = _size(said["size"]) if "size" in said else info.size
        if info.type == tarfile.DIRTYPE:
            _check_folder(name)
            return None
        if info.type not in FILES:
            kind = KINDS.get(info.type, f"of type {info.type!r}")
            raise UploadRejected(f"{name!r:.200} in the tar archive is {kind}, expected a file")
        self._left, self._padding = size, -size % BLOCKSIZE
        return File(name)

    def _parsed(self, block: bytes) -> TarInfo:
        try:
            info = TarInfo.frombuf(block, "utf-8", "backslashreplace")
        except tarfile.HeaderError as error:
            number = self._entries + 1
            raise MalformedRequest(f"not a tar archive: {error} of entry {number}") from None
        if info.size < 0:
            raise MalformedRequest(f"not a tar archive: {info.name!r:.200} has {info.size} bytes")
        return info

    def _begin_extended(self, info: TarInfo) -> None:
        if info.size > MAX_EXTENDED:
            raise BodyTooLarge(
                f"an extended header in the tar archive has {info.size} bytes, at most"
                f" {MAX_EXTENDED} are allowed"
            )
        self._kind, self._extended = info.type, info.size

    def _read_extended(self) -> None:
        size, self._extended = self._extended, 0
        data = self._take(size + -size % BLOCKSIZE)[:size]
        if self._kind == tarfile.GNUTYPE_LONGNAME:
            self._next["path"] = data.split(b"\0")[0].decode("utf-8", "backslashreplace")
            return
        records = dict(_records(data))
        if sparse := next((key for key in records if key.startswith("GNU.sparse")), None):
            raise UploadRejected(f"the tar archive has a sparse file ({sparse}), expected files")
        if self._kind == tarfile.XHDTYPE:
            self._next |= records
        elif records.keys() & {"path", "size", "linkpath"}:
            raise UploadRejected("the tar archive sets one path or size for all of its entries")


def _check_folder(name: str) -> None:
    """Check the name of a folder. Folders are created only when files need them."""
    if name not in ("", "."):
        file_path(name.removesuffix("/"))


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the records of an extended header: ``b"<length> <key>=<value>\\n"``."""
    while data:
        digits, space, _ = data[:12].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = data[len(digits) + 1 : length]
        key, equals, value = record.partition(b"=")
        if length > len(data) or not equals or not value.endswith(b"\n"):
            raise MalformedRequest(f"not a tar archive: an extended header with {data[:40]!r}")
        yield key.decode("utf-8", "replace"), value[:-1].decode("utf-8", "backslashreplace")
        data = data[length:]


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise MalformedRequest(f"not a tar archive: an entry of {text!r:.40} bytes")
    return int(text)
