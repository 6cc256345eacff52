"""Versions that crashed the server: they do not serve until an operator asks to try them again.

models/<name>/quarantine.toml maps the number of each version to the reason. The file makes the
quarantine apply to the next server too, with or without a supervisor. Everything here blocks.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from service.core.errors import FileUnreadable
from service.core.names import VERSION
from service.engine.storage.access import unwritable
from service.files import read_toml, replace_text

QUARANTINE_FILE = "quarantine.toml"
COMMENT = (
    "# Versions that were at work when the server crashed. Load the model or swap to the version"
    " to try it again."
)


def read_quarantine(model: Path) -> dict[int, str]:
    """Return the versions of the model in a folder that are in quarantine, with the reasons.

    A file that cannot be read counts as empty, so that it does not prevent a model from serving.
    """
    try:
        values = read_toml(model / QUARANTINE_FILE) or {}
    except FileUnreadable:
        return {}
    return {int(n): str(reason) for n, reason in values.items() if VERSION.fullmatch(n)}


def write_quarantine(model: Path, versions: Mapping[int, str]) -> str:
    """Store the versions in quarantine, or remove the file if there are none. Return the reason if
    that failed, else ""."""
    path = model / QUARANTINE_FILE
    lines = [COMMENT, *(f"{number} = {_quoted(versions[number])}" for number in sorted(versions))]
    try:
        if versions:
            replace_text(path, "\n".join(lines) + "\n")
        elif os.path.lexists(path):  # a read-only file system refuses even if there is no file
            path.unlink(missing_ok=True)
    except OSError as error:
        return unwritable(path, error)
    return ""


def _quoted(text: str) -> str:
    """Return a text as a TOML string."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
