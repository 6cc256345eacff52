"""Reads and replaces small files: settings beside a model, keys, pins. Blocks.

Reads have a size limit, and never wait forever for a pipe. Every file of a model repository that
is not a model or its external data is read through ``open_regular``.
"""

import errno
import fcntl
import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from stat import S_ISREG
from time import monotonic
from typing import Any, BinaryIO

from service.core.errors import FileUnreadable

TOML_BYTES = 2**20
"""The limit for a TOML file. The names of 20,000 classes take half of this."""
TOML_DEPTH = 16
MOST_INTEGER = 2**63 - 1
"""The largest integer that TOML guarantees. Larger ones fit neither a metric nor a JSON number."""
MOST_TABLES = 2000
TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
# tomllib needs quadratic time for a key of many parts: 16,000 parts (32 kB) take 3 s.
LONG_KEY = re.compile(r"""(?:\.[ \t]*+(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+){64}""")
DRAFT = re.compile(r"\.(.+)-[0-9a-f]{16}")
"""The name of the temporary file that ``replace_text`` writes before the rename."""
STREAM_SECONDS = 5.0
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@contextmanager
def open_regular(path: Path, limit: int) -> Iterator[BinaryIO]:
    """Open a regular file for reading. A link is followed.

    Raises:
        FileNotFoundError: the path does not exist.
        FileUnreadable: the path is not a regular file, has more than ``limit`` bytes, or cannot be
            read.
    """
    file = _opened(path, limit)
    with file:
        yield file


def read_small(path: Path, limit: int) -> bytes | None:
    """Return the bytes of a small file, or None if the path does not exist.

    Raises:
        FileUnreadable: see ``open_regular``.
    """
    try:
        with open_regular(path, limit) as file:
            # The file may grow. A file of the kernel may have nothing to read at the moment.
            found: bytes | None = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileUnreadable(f"{path.name}: {error.strerror}") from None
    if found is None:
        raise FileUnreadable(f"{path.name} has nothing to read")
    if len(found) > limit:
        raise _too_large(path, limit)
    return found


def read_stream(path: Path, limit: int) -> bytes:
    """Return all bytes of a file or of a pipe, such as a shell's ``<(...)``.

    The writer of a pipe has ``STREAM_SECONDS`` to finish.

    Raises:
        OSError: the file cannot be read, has more than ``limit`` bytes, or does not end in time.
    """
    parts: list[bytes] = []
    size, until = 0, monotonic() + STREAM_SECONDS
    handle = os.open(path, FLAGS)
    try:
        while size <= limit:
            if not select([handle], [], [], max(0.0, until - monotonic()))[0]:
                raise OSError(errno.ETIMEDOUT, f"it did not end within {STREAM_SECONDS:g} s")
            part = os.read(handle, limit + 1)
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
    finally:
        os.close(handle)
    raise OSError(errno.EFBIG, f"it has more than {limit} bytes")


def read_toml(path: Path) -> dict[str, Any] | None:
    """Return the values of a TOML file, or None if the path does not exist.

    Raises:
        FileUnreadable: see ``open_regular``; or the file is not TOML, or exceeds a limit of this
            module (nesting, parts of a key, tables, size of an integer).
    """
    data = read_small(path, TOML_BYTES)
    if data is None:
        return None
    try:
        text = data.decode("utf-8-sig")
        if LONG_KEY.search(text):
            raise ValueError("a key has more than 64 parts")
        if len(TABLE.findall(text)) > MOST_TABLES:  # each takes up to 0.1 ms
            raise ValueError(f"it has more than {MOST_TABLES} tables")
        values = tomllib.loads(text)
        _check(values)
    except RecursionError:
        raise FileUnreadable(f"{path.name}: values are nested too deep") from None
    except ValueError as error:
        raise FileUnreadable(f"{path.name}: {str(error):.300}") from None
    return values


def unnamed_file() -> int:
    """Return the descriptor of a file without a name.

    The file is in memory, or on disk where the system does not support or allow ``memfd_create``.
    A container may have no folder for such a file on disk.
    """
    with suppress(AttributeError, OSError):
        return os.memfd_create("quantserve")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def replace_text(path: Path, text: str) -> None:
    """``replace_bytes`` for text, encoded as UTF-8."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically: another process reads the old or the new content, never a part.

    Raises:
        OSError: the file cannot be written; the old file is unchanged.
    """
    with _draft(path) as (draft, file):
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        draft.replace(path)


def check_replaceable(path: Path) -> None:
    """Check that ``replace_text`` can write a file of this name. Leaves no file behind.

    Raises:
        OSError: the file cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with _draft(path):
        pass


@contextmanager
def _draft(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Create a locked file beside ``path``. It is deleted at the end unless it was renamed."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield draft, file
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def remove_drafts(folder: Path, names: Container[str]) -> list[Path]:
    """Remove drafts of files of these names whose writer was killed; return the removed paths.

    A draft whose writer is alive is locked, and is kept.

    Raises:
        OSError: the folder cannot be listed.
    """
    removed = []
    for draft in folder.iterdir():
        match = DRAFT.fullmatch(draft.name)
        if match and match[1] in names and not draft.is_symlink():
            with suppress(OSError, FileUnreadable):
                _remove_unless_locked(draft)
                removed.append(draft)
    return removed


def _remove_unless_locked(draft: Path) -> None:
    with open_regular(draft, MOST_INTEGER) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink()


def _opened(path: Path, limit: int) -> BinaryIO:
    try:
        _require_regular(path, path.stat(), limit)  # opening a device may have an effect
        handle = os.open(path, FLAGS)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise FileUnreadable(f"{path.name} is a link to nothing") from None
        raise
    except ValueError:  # a zero byte in the name
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    except OSError as error:
        raise FileUnreadable(f"{path.name}: {error.strerror}") from None
    file = os.fdopen(handle, "rb")
    try:
        _require_regular(path, os.fstat(handle), limit)  # the file may have been replaced
    except BaseException:
        file.close()
        raise
    return file


def _require_regular(path: Path, found: os.stat_result, limit: int) -> None:
    if not S_ISREG(found.st_mode):
        raise FileUnreadable(f"{path.name} is not a file")
    if found.st_size > limit:
        raise _too_large(path, limit)


def _too_large(path: Path, limit: int) -> FileUnreadable:
    return FileUnreadable(f"{path.name} has more than {limit} bytes, the limit for this file")


def _check(values: dict[str, Any]) -> None:
    """Check nesting and integers, without recursion: a dotted key of n parts nests n levels deep.

    Raises:
        ValueError: a value is nested too deep, or an integer is too large.
    """
    level: list[Any] = [values]
    for _ in range(TOML_DEPTH):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, int) and abs(each) > MOST_INTEGER:
                raise ValueError("an integer has more than 64 bits")
        level = below
    if level:
        raise ValueError(f"values are nested more than {TOML_DEPTH} deep")
