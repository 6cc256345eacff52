"""Reads untrusted .npz and .npy files, without pickle and within a memory limit.

The memory is computed from the directory and the headers, and checked before decompression: a few
kilobytes can decompress to terabytes. Blocks.
"""

import zipfile
from math import prod
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from service.core.errors import FileUnreadable
from service.core.tensors import Array
from service.files import open_regular

MOST_ARRAYS = 10_000
DIRECTORY_BYTES = 2**21
"""The limit for the directory: ``MOST_ARRAYS`` arrays with names of a usual length."""
MOST_ELEMENTS = 2**48
END, END_BYTES, COMMENT_BYTES = b"PK\5\6", 22, 2**16
ZIP64_LOCATOR, LOCATOR_BYTES = b"PK\6\7", 20
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""The compression methods that NumPy writes. With LZMA, the file would set the memory of the
decoder."""
TEXT_BYTES = 64
"""The minimum memory of one text as a Python object."""
PICKLED = (
    "it holds an array of Python objects, which would run code when loaded; "
    "save numbers, or text as an array of str"
)


def read_npz(path: Path, most: int) -> dict[str, Array]:
    """Return the arrays of an .npz file by name.

    Raises:
        FileNotFoundError: there is no such file.
        FileUnreadable: the file is no regular file or no archive of arrays, or would take more than
            ``most`` bytes.
    """
    with open_regular(path, most) as file:
        try:
            return _arrays(path, file, most)
        except FileUnreadable:
            raise
        except Exception as error:  # of a dozen types
            raise _unreadable(path, error) from error


def read_npy(path: Path, most: int) -> Array:
    """Return the array of an .npy file.

    Raises:
        FileNotFoundError, FileUnreadable: see ``read_npz``.
    """
    with open_regular(path, most) as file:
        try:
            size = file.seek(0, 2)
            file.seek(0)
            return _array(path, file, size, most)[0]
        except FileUnreadable:
            raise
        except Exception as error:
            raise _unreadable(path, error) from error


def _arrays(path: Path, file: BinaryIO, most: int) -> dict[str, Array]:
    _check_directory(path, file)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, EOFError):
        raise _no_archive(path) from None
    with archive:
        members = archive.infolist()
        _check_members(path, members, most)
        found, left = {}, most
        for member in members:
            with archive.open(member) as source:
                array, taken = _array(path, source, member.file_size, left)
                source.read(1)  # a read at the end compares the checksum
            left -= taken
            found[member.filename.removesuffix(".npy")] = array
    return found


def _check_directory(path: Path, file: BinaryIO) -> None:
    """Check the size of the ZIP archive's central directory, which zipfile reads into memory."""
    size = file.seek(0, 2)
    file.seek(max(0, size - END_BYTES - COMMENT_BYTES))
    tail = file.read(END_BYTES + COMMENT_BYTES)
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < END_BYTES:
        raise _no_archive(path)
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    before = tail[max(0, at - LOCATOR_BYTES) : at]
    # A ZIP64 archive has its actual sizes elsewhere.
    large = before.startswith(ZIP64_LOCATOR) and size < 2**31
    if large or (length > DIRECTORY_BYTES and size < 2**31):
        raise FileUnreadable(f"{path.name} cannot be read: it has too many arrays")
    file.seek(0)


def _check_members(path: Path, members: list[zipfile.ZipInfo], most: int) -> None:
    if len(members) > MOST_ARRAYS:
        raise FileUnreadable(
            f"{path.name} cannot be read: it has {len(members)} arrays, more than {MOST_ARRAYS}"
        )
    for member in members:
        if member.compress_type not in METHODS:
            raise FileUnreadable(
                f"{path.name} cannot be read: {member.filename!r:.80} is compressed in a way that"
                " NumPy does not write"
            )
    if (total := sum(member.file_size for member in members)) > most:
        raise _no_room(path, total, most)


def _array(path: Path, source: IO[bytes], size: int, most: int) -> tuple[Array, int]:
    """Read an array of ``size`` bytes including its header; return it and its bytes in memory.

    Raises:
        ValueError: there is no array, or the data is shorter than the header says.
        FileUnreadable: the array would take more than ``most`` bytes.
    """
    # Version 3 differs from version 2 only in the encoding of field names.
    old = np.lib.format.read_magic(source) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(source)
    if dtype.hasobject:
        raise ValueError(PICKLED)
    count, length = prod(shape), prod(shape) * dtype.itemsize
    if length > size or max((count, *shape)) > MOST_ELEMENTS or min((0, *shape)) < 0:
        raise ValueError(
            f"an array is {dtype!s:.40}{list(shape)!r:.80} by its header, and has {size} bytes"
        )
    taken = count * TEXT_BYTES + length if dtype.kind in "SU" else length
    if taken > most:
        raise _no_room(path, taken, most)
    flat = np.ndarray(count, dtype, _exactly(source, length) if length else None)
    return flat.reshape(shape, order="F" if by_columns else "C"), taken


def _exactly(source: IO[bytes], length: int) -> bytearray:
    """Read exactly ``length`` bytes into a writable buffer."""
    data = bytearray(length)
    free = memoryview(data)
    while free:
        count = source.readinto(free)  # type: ignore[attr-defined]  # of all that are buffered
        if not count:
            raise ValueError("the file is truncated")
        free = free[count:]
    return data


def _no_room(path: Path, taken: int, most: int) -> FileUnreadable:
    return FileUnreadable(
        f"{path.name} cannot be read: its arrays take {taken} bytes, the limit is {most}"
    )


def _no_archive(path: Path) -> FileUnreadable:
    return FileUnreadable(
        f"{path.name} cannot be read: it is not an .npz file, or it is incomplete"
    )


def _unreadable(path: Path, error: Exception) -> FileUnreadable:
    """The error, without NumPy's advice to allow pickles, which run code."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    why = PICKLED if "allow_pickle" in text else text
    return FileUnreadable(f"{path.name} cannot be read: {why:.300}")
