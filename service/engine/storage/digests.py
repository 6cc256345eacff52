"""Digests of the files that a version is loaded from: if they change, it is loaded again."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from service.core.layout import Version
from service.core.model_file import SETTINGS_FILE, is_hidden
from service.core.names import GOLDEN_FILE, PREPROCESSOR_FILE, REPORT_FILE, TOKENIZER_FILE, VERSION
from service.core.unserved import is_harmless
from service.engine.host.paths import leads_outside
from service.engine.storage.pin_file import PIN_FILE

NOT_LOADED_FROM = frozenset({GOLDEN_FILE, REPORT_FILE, SETTINGS_FILE, PIN_FILE})
"""Files that may lie beside a model file without being a part of the model."""


def digest_of_files(path: Path, version: Version, root: Path) -> str:
    """Return a digest of the files that a version is loaded from.

    These are all files in its folder except the report. For a version without a folder they are the
    files beside the model file that may be its external data.
    """
    first, _, rest = version.file.partition("/")
    if rest and VERSION.fullmatch(first):
        away = (path / first).is_symlink() and leads_outside(root, path / first)
        listed = iter(()) if away else _listing(path / first)  # the link may lead to a whole disk
    else:
        listed = _listing_beside(path, first if path == root else None)
    return digest("\n".join([version.file, version.problem, *sorted(listed)]))


def _listing(version: Path) -> Iterator[str]:
    for folder, _, names in os.walk(version):
        for name in names:
            path = Path(folder, name)
            if name != REPORT_FILE:
                yield f"{path.relative_to(version)} {stat_of(path)}"


def _listing_beside(path: Path, only: str | None) -> Iterator[str]:
    """Yield the files in a model's folder and its sub-folders, except the folders of versions.

    ``only`` is the one sub-folder to list: in the root the others are models.
    """
    for folder, folders, names in os.walk(path):
        if folder == str(path):
            folders[:] = [
                each
                for each in folders
                if not is_hidden(each) and not VERSION.fullmatch(each) and only in (None, each)
            ]
        for name in names:
            file = Path(folder, name)
            loaded = name in (TOKENIZER_FILE, PREPROCESSOR_FILE)
            harmless = is_harmless(name) and not loaded
            if not (is_hidden(name) or name in NOT_LOADED_FROM or harmless):
                yield f"{file.relative_to(path)} {stat_of(file)}"


def stat_of(path: Path) -> str:
    """Return the size, the time and the inode of a file; "" if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


def digest(text: str) -> str:
    """Return a digest of a text, which may have bytes of paths that are not UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
