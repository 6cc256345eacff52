"""The hidden folder in which a version is assembled before it is published.

The folder lies in the model's folder and is published by a rename: readers see the whole version or
nothing. The process holds a lock on the folder, which the system releases when the process dies. So
an unlocked folder is abandoned. Everything here blocks, and is called in threads.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import BinaryIO

from service.core.errors import InvalidName, StorageFailed, StorageFull, VersionExists
from service.core.names import VERSION
from service.engine.host.paths import check_version, leads_outside
from service.engine.storage.folder import read_model
from service.engine.storage.pin_file import PIN_FILE
from service.engine.storage.quarantine import QUARANTINE_FILE
from service.files import remove_drafts

PREFIX = ".upload-"
ATTEMPTS = 8
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
NO_SYNC = {errno.EINVAL, errno.ENOTSUP}
"""Errors of file systems that cannot make a folder durable."""


class Staging:
    """One version before it is published. ``discard`` may be called any time, from any thread."""

    def __init__(self, root: Path, model: str) -> None:
        self.folder = root / model / f"{PREFIX}{secrets.token_hex(8)}"
        self.bytes = 0
        self._root, self._model = root, root / model
        # All mutable state, with `bytes`. A write in a thread cannot be cancelled, so the lock
        # separates it from the clean-up.
        self._lock = Lock()
        self._held: int | None = None
        self._there = self._alone = False
        self._file: BinaryIO | None = None
        self._path: PurePosixPath | None = None
        self._hash = hashlib.sha256()
        self._sums: dict[PurePosixPath, str] = {}

    def create(self) -> None:
        """Create the folder, and the model's folder if the model is new.

        Raises:
            InvalidName: the model's folder is a link that leads out of the repository.
            StorageFailed: the disk does not allow it.
        """
        with self._lock, self._explained():
            if leads_outside(self._root, self._model):
                raise InvalidName(f'the folder of model "{self._model.name}" is a link to outside')
            # The clean-up of another upload may remove an empty model folder at the same time.
            for _ in range(ATTEMPTS):
                with suppress(FileNotFoundError):
                    self._create()
                    return
            self._create()

    def append(self, path: PurePosixPath, data: bytes) -> None:
        """Append to a file. A new path completes the previous file.

        Raises:
            StorageFailed: the disk does not allow it.
        """
        with self._lock, self._explained():
            if not self._there:
                return  # discarded while this thread was about to write
            if path != self._path:
                self._finish_file()
                target = self.folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                self._file, self._path = target.open("xb"), path
            assert self._file is not None, "a path is open. This is a bug."
            self._file.write(data)
            self._hash.update(data)
            self.bytes += len(data)

    def seal(self) -> dict[PurePosixPath, str]:
        """Make all files durable; return the SHA-256 of each.

        Raises:
            StorageFailed: the disk does not allow it.
        """
        with self._lock, self._explained():
            self._finish_file()
            for folder, _, _ in os.walk(self.folder):
                _sync(Path(folder))
        return self._sums

    def rename(self, path: PurePosixPath, name: PurePosixPath) -> None:
        """Rename a file.

        Raises:
            StorageFailed: the disk does not allow it.
        """
        with self._lock, self._explained():
            (self.folder / path).rename(self.folder / name)
            _sync(self.folder)

    def publish(self, number: int | None) -> int:
        """Rename to the version's folder; return its number. ``number`` None is the highest plus 1.

        If two uploads publish the same number at once, only one succeeds. An empty folder of that
        name that another process creates at the same moment is replaced.

        Raises:
            VersionExists: the number is taken.
            StorageFailed: the disk does not allow it.
        """
        with self._lock, self._explained():
            while True:
                wanted = check_version(number or highest_version(self._model) + 1)
                target = self._model / str(wanted)
                try:
                    if os.path.lexists(target):
                        raise FileExistsError(errno.EEXIST, "")
                    self.folder.rename(target)
                except OSError as error:
                    if error.errno not in TAKEN:
                        raise
                    if number is not None:
                        raise version_exists(self._model.name, number) from None
                else:
                    break
            self._there = False
            self._release()
            _sync(self._model)
            _sync(self._root)
        return wanted

    def discard(self) -> None:
        """Remove the folder. Does nothing once the version is published."""
        with self._lock:
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
                self._file = None
            if self._there:
                shutil.rmtree(self.folder, ignore_errors=True)
            self._there = False
            self._release()
            if self._alone:
                with suppress(OSError):
                    self._model.rmdir()

    def _create(self) -> None:
        with suppress(FileExistsError):
            self._model.mkdir()
        self._alone = all(entry.name.startswith(PREFIX) for entry in self._model.iterdir())
        self.folder.mkdir()
        self._there = True
        self._held = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _finish_file(self) -> None:
        if self._file is None or self._path is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._sums[self._path] = self._hash.hexdigest()
        self._file, self._path, self._hash = None, None, hashlib.sha256()

    def _release(self) -> None:
        if self._held is not None:
            os.close(self._held)
        self._held = None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise errors of the disk as storage errors, without paths in the message."""
        what = f'cannot store model "{self._model.name}"'
        try:
            yield
        except OSError as error:
            why = f"{error.strerror or error} (after {self.bytes} bytes)"
            kind = StorageFull if error.errno in FULL else StorageFailed
            raise kind(f"{what}: {why}") from error


def version_exists(model: str, number: int) -> VersionExists:
    """Return the error for a number that is taken."""
    return VersionExists(
        f'model "{model}" has a version {number} already; versions are never overwritten'
    )


def highest_version(model: Path) -> int:
    """Return the highest version number in use in a model's folder; 0 for none.

    This includes entries with a number as their name, and the number of a model file without a
    folder of its own.
    """
    names = (entry.name for entry in model.iterdir())
    numbers = {int(name) for name in names if VERSION.fullmatch(name)}
    return max(numbers | _versions(model), default=0)


def is_taken(model: Path, number: int) -> bool:
    """Return True if a model's folder has this version, or another entry with its number."""
    return os.path.lexists(model / str(number)) or number in _versions(model)


def _versions(model: Path) -> set[int]:
    found = read_model(model)
    return set(found.numbers) if found else set()


def remove_abandoned(root: Path) -> list[Path]:
    """Remove the leftovers of dead processes: uploads, and drafts of pins and quarantines. Return
    the removed paths. A folder that cannot be read is left unchanged.

    Another process may use the same repository: folders and drafts that it has locked are kept.
    """
    removed = []
    for folder in (root, *_folders(root)):
        with suppress(OSError):
            removed += remove_drafts(folder, {PIN_FILE, QUARANTINE_FILE})
            removed += _remove_uploads(folder) if folder != root else []
    return removed


def _folders(root: Path) -> list[Path]:
    try:
        entries = list(root.iterdir())
    except OSError:
        return []
    return [each for each in entries if _is_folder(each) and not leads_outside(root, each)]


def _is_folder(path: Path) -> bool:
    with suppress(OSError):
        return path.is_dir()
    return False


def _remove_uploads(model: Path) -> list[Path]:
    removed = []
    for folder in model.iterdir():
        if not folder.name.startswith(PREFIX) or folder.is_symlink() or not _abandoned(folder):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(folder)
    if removed:
        with suppress(OSError):  # the model's folder too, if it is empty now
            model.rmdir()
    return removed


def _abandoned(folder: Path) -> bool:
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _sync(folder: Path) -> None:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(held)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(held)
