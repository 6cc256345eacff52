"""Reads, writes and restores serving.toml, which stores the pinned version of a model. Blocks."""

import json
import os
from contextlib import suppress
from pathlib import Path

from service.core.errors import FileUnreadable
from service.core.versions import Pin
from service.engine.storage.access import unwritable
from service.files import check_replaceable, read_small, replace_bytes, replace_text

PIN_FILE = "serving.toml"
MOST_BYTES = 1 << 20
PIN_COMMENT = (
    "# The version that serves. Delete this file to serve the highest one at the next start."
)


def write_pin(path: Path, pin: Pin | None) -> str:
    """Store the pin of the model in a folder, or remove the pin for None. Return the reason if that
    failed, else ""."""
    target = path / PIN_FILE
    try:
        if pin is not None:
            replace_text(target, _pin_text(pin))
        elif os.path.lexists(target):  # a read-only file system refuses even if there is no file
            target.unlink(missing_ok=True)
    except OSError as error:
        return unwritable(target, error)
    return ""


def read_pin_file(path: Path) -> bytes | None:
    """Return the content of serving.toml, valid or not; None if the file does not exist or cannot
    be read."""
    try:
        return read_small(path / PIN_FILE, MOST_BYTES)
    except FileUnreadable:
        return None


def restore_pin_file(path: Path, content: bytes | None) -> None:
    """Restore the content of serving.toml; None removes the file. Errors are ignored."""
    target = path / PIN_FILE
    with suppress(OSError):
        if content is None:
            target.unlink(missing_ok=True)
        else:
            replace_bytes(target, content)


def check_pin(path: Path, pin: Pin | None) -> str:
    """Return the reason why ``write_pin`` would fail, if that can be found without a change; else
    ""."""
    target = path / PIN_FILE
    try:
        if pin is not None or os.path.lexists(target):
            check_replaceable(target)
    except OSError as error:
        return unwritable(target, error)
    return ""


def _pin_text(pin: Pin) -> str:
    lines = [PIN_COMMENT, f"version = {pin.version}"]
    if pin.previous is not None:
        lines.append(f"previous = {pin.previous}")
    lines += [f"{key} = true" for key in ("forced", "signature_change") if getattr(pin, key)]
    if pin.v1_outputs:
        lines.append(f"v1_outputs = {json.dumps(pin.v1_outputs, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
