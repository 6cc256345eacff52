"""Reads and replaces small files: settings beside a model, keys, pins. Blocks.

Reads are bounded in size, and never wait for a pipe without end. Every file of a model
repository that is not a model or its external data is read through ``open_regular``.
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
"""The names of 20,000 classes take half of it."""
TOML_DEPTH = 16
MOST_INTEGER = 2**63 - 1
"""TOML promises no more; larger ones fit neither a metric nor a number of JSON."""
MOST_TABLES = 2000
TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
# tomllib takes quadratic time for a key of many parts: 16,000 of them, in 32 kB, take 3 s.
LONG_KEY = re.compile(r"""(?:\.[ \t]*+(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+){64}""")
DRAFT = re.compile(r"\.(.+)-[0-9a-f]{16}")
"""The name under which ``replace_text`` writes a file that is not whole yet."""
STREAM_SECONDS = 5.0
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@contextmanager
def open_regular(path: Path, limit: int) -> Iterator[BinaryIO]:
    """A regular file, open for reading. A link is followed.

    Raises:
        FileNotFoundError: there is nothing of that name.
        FileUnreadable: it is something else, has more than ``limit`` bytes, or may not be read.
    """
    file = _opened(path, limit)
    with file:
        yield file


def read_small(path: Path, limit: int) -> bytes | None:
    """The bytes of a small file; None where there is nothing of that name.

    Raises:
        FileUnreadable: see ``open_regular``.
    """
    try:
        with open_regular(path, limit) as file:
            # It may grow; or be one of the kernel's, which has nothing to read at the moment.
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
    """All of a file, which may also be a pipe, as a shell's ``<(...)`` is. Its writer, if there is
    one, has ``STREAM_SECONDS``.

    Raises:
        OSError: it cannot be read, has more than ``limit`` bytes, or does not end in time.
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
    """The values of a TOML file; None where there is nothing of that name.

    Raises:
        FileUnreadable: see ``open_regular``; or it is not TOML, or nested without end.
    """
    data = read_small(path, TOML_BYTES)
    if data is None:
        return None
    try:
        text = data.decode("utf-8-sig")
        if LONG_KEY.search(text):
            raise ValueError("a key has more than 64 parts")
        if len(TABLE.findall(text)) > MOST_TABLES:  # which take up to 0.1 ms each
            raise ValueError(f"it has more than {MOST_TABLES} tables")
        values = tomllib.loads(text)
        _check(values)
    except RecursionError:
        raise FileUnreadable(f"{path.name}: values are nested too deep") from None
    except ValueError as error:
        raise FileUnreadable(f"{path.name}: {str(error):.300}") from None
    return values


def unnamed_file() -> int:
    """A descriptor of a file without a name: in memory, or on disk where the system has or allows
    no such thing. In a container there may be no folder for it on disk."""
    with suppress(AttributeError, OSError):
        return os.memfd_create("quantserve")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def replace_text(path: Path, text: str) -> None:
    """``replace_bytes`` for text, encoded as UTF-8."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file whole: another process reads the old one or the new one, never half of one.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    with _draft(path) as (draft, file):
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        draft.replace(path)


def check_replaceable(path: Path) -> None:
    """Make sure that ``replace_text`` would find room for a file of this name, and leave nothing.

    Raises:
        OSError: it would not.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with _draft(path):
        pass


@contextmanager
def _draft(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A locked file beside ``path``, which is deleted in the end unless it was renamed."""
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
    """Remove drafts of files of these names whose writer was killed; gives what was removed. One
    whose writer lives is locked, and kept.

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
        _require_regular(path, path.stat(), limit)  # opening a device may already do something
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
        _require_regular(path, os.fstat(handle), limit)  # another one may have taken its place
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
    return FileUnreadable(
        f"{path.name} has more than {limit} bytes, which is the most that is read"
    )


def _check(values: dict[str, Any]) -> None:
    """Without recursion: a dotted key nests as deep as it is long.

    Raises:
        ValueError: something in it is nested too deep, or an integer is too large.
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
