"""Explains missing permissions in the models folder, with a remedy. Blocks.

The texts contain paths and owners: they are for the log and for holders of an admin key.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from service.core.model_file import is_hidden

DENIED = {errno.EACCES, errno.EPERM}
READ_ONLY = "mount the models folder writable"
REFUSED = "until then uploads, and swaps without --no-pin, are refused"
DEPTH, MOST, NAMED = 3, 10_000, 3
"""How deep below the models folder to check, how many entries, and how many of them to name."""


def unwritable(path: Path, error: OSError) -> str:
    """Return why a file of a model could not be written, with the folder and the file."""
    return f"{path.parent.name}/{path.name} cannot be written: {explained(path.parent, error)}"


def explained(folder: Path, error: OSError) -> str:
    """Return an error of the system with its name. A permission error also has the user of the
    process, the owner of the folder and a remedy."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    text = f"{error.strerror or error} ({name})"
    if error.errno in DENIED:
        return f"{text}: {parties(folder)}"
    return f"{text}: {_me()}; {READ_ONLY}" if error.errno == errno.EROFS else text


def parties(path: Path) -> str:
    """Return the user of this process, the owner of a path, and a command to fix access."""
    try:
        found = path.stat()
    except OSError as error:
        return f"{_me()}, and cannot access {path} ({error.strerror}); chown the folders above it"
    owner = f"uid {found.st_uid}, gid {found.st_gid}, mode {found.st_mode & 0o7777:04o}"
    remedy = f"chown -R {os.geteuid()} {path}"
    if found.st_uid == os.geteuid():
        remedy = f"chmod -R u+rwX {path}"
    elif found.st_uid:  # do not advise to run the server as root
        user = f"{found.st_uid}:{found.st_gid}"
        remedy += f', or run the server as its owner (user: "{user}")'
    return f"{_me()}, {path} belongs to {owner}; {remedy}"


@dataclass(slots=True)
class Denied:
    """Paths in a models folder: entries that cannot be read, and folders that cannot be written."""

    unreadable: list[Path] = field(default_factory=list)
    unwritable: list[Path] = field(default_factory=list)


def denials(root: Path) -> list[str]:
    """Return a line for the entries of a models folder that this process cannot read, and a line
    for the folders that it cannot write. Each has a remedy."""
    denied = _denied(root)
    lines = []
    if denied.unreadable:
        first = denied.unreadable[0]
        lines.append(f"cannot be read: {_named(denied.unreadable)}: {parties(first)}")
    if denied.unwritable:
        first, named = denied.unwritable[0], _named(denied.unwritable)
        read_only = os.statvfs(first).f_flag & os.ST_RDONLY
        code = errno.EROFS if read_only else errno.EACCES
        why = explained(first, OSError(code, os.strerror(code)))
        lines.append(f"cannot be written: {named}: {why}; {REFUSED}")
    return lines


def _denied(root: Path) -> Denied:
    """Check at most ``MOST`` entries, to keep the start of a server short."""
    found = Denied()
    for path, depth in islice(_entries(root, 0), MOST):
        folder = path.is_dir()
        if not os.path.lexists(path):
            continue  # it was moved meanwhile
        if not os.access(path, os.R_OK | os.X_OK if folder else os.R_OK):
            found.unreadable.append(path)
        elif folder and depth < 2 and not os.access(path, os.W_OK):  # noqa: PLR2004 - a model's
            found.unwritable.append(path)
    return found


def _entries(path: Path, depth: int) -> Iterator[tuple[Path, int]]:
    """Yield a folder and its contents with their depth, without links and hidden entries."""
    yield path, depth
    if depth == DEPTH or not os.access(path, os.R_OK | os.X_OK):
        return
    try:
        with os.scandir(path) as entries:
            listed = sorted(entries, key=lambda each: each.name)
    except OSError:
        return
    for each in listed:
        if each.is_symlink() or is_hidden(each.name):
            continue
        if each.is_dir():
            yield from _entries(Path(each.path), depth + 1)
        else:
            yield Path(each.path), depth + 1


def _named(paths: list[Path]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(map(str, paths[:NAMED])) + more


def _me() -> str:
    return f"the server runs as uid {os.geteuid()}, gid {os.getegid()}"
