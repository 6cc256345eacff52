"""Versions that crashed the server, kept from serving until somebody asks to try them again.

models/<name>/quarantine.toml maps the number of each to the reason. It is on disk so that it holds
for the next server too, with or without a supervisor. Everything here blocks.
"""

import os
import secrets
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

QUARANTINE_FILE = "quarantine.toml"
MOST_BYTES = 64 * 1024
COMMENT = (
    "# Versions that were at work when the server crashed. Load the model or swap to the version"
    " to try it again."
)


def read_quarantine(model: Path) -> dict[int, str]:
    """The versions of the model in a folder that are in quarantine, with the reasons.

    A file that cannot be read holds none: it must not keep a model from serving.
    """
    path = model / QUARANTINE_FILE
    try:
        found = path.stat()
        if not S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
            return {}
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {int(n): str(reason) for n, reason in values.items() if n.isascii() and n.isdecimal()}


def write_quarantine(model: Path, versions: Mapping[int, str]) -> str:
    """Store what is in quarantine, or remove the file; gives why that was not possible, or "".

    Another process reads the old file or the new one, never half of one.
    """
    path = model / QUARANTINE_FILE
    draft = model / f".{QUARANTINE_FILE}-{secrets.token_hex(8)}"
    lines = [COMMENT, *(f"{number} = {_quoted(versions[number])}" for number in sorted(versions))]
    try:
        if not versions:
            path.unlink(missing_ok=True)
            return ""
        with draft.open("x") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        return f"{QUARANTINE_FILE} cannot be written: {error.strerror}"
    return ""


def _quoted(text: str) -> str:
    """A TOML string."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
