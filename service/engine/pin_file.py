"""The file that keeps which version of a model serves: written, checked, and put back. Blocks."""

import json
import os
from contextlib import suppress
from pathlib import Path

from service.core.errors import FileUnreadable
from service.core.versions import Pin
from service.engine.access import unwritable
from service.files import check_replaceable, read_small, replace_bytes, replace_text

PIN_FILE = "serving.toml"
MOST_BYTES = 1 << 20
PIN_COMMENT = (
    "# The version that serves. Delete this file to serve the highest one at the next start."
)


def write_pin(path: Path, pin: Pin | None) -> str:
    """Store the pin of the model in a folder, or remove it; gives why that was not possible, else
    nothing."""
    target = path / PIN_FILE
    try:
        if pin is not None:
            replace_text(target, _pin_text(pin))
        elif os.path.lexists(target):  # a read-only file system refuses to remove nothing
            target.unlink(missing_ok=True)
    except OSError as error:
        return unwritable(target, error)
    return ""


def read_pin_file(path: Path) -> bytes | None:
    """What the file of the pin holds, whether or not it is one; None where there is none, or none
    that can be read."""
    try:
        return read_small(path / PIN_FILE, MOST_BYTES)
    except FileUnreadable:
        return None


def restore_pin_file(path: Path, content: bytes | None) -> None:
    """Let the file of the pin hold what it held, as far as the disk allows it."""
    target = path / PIN_FILE
    with suppress(OSError):
        if content is None:
            target.unlink(missing_ok=True)
        else:
            replace_bytes(target, content)


def check_pin(path: Path, pin: Pin | None) -> str:
    """Why ``write_pin`` would fail, as far as shows without changing anything; else nothing."""
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
