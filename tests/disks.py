"""A disk that is soon full, and one that cannot be written."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import SMALL_DISK


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount one of so many bytes there; skips where the system does not let the tests do it."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    SMALL_DISK.need(os.geteuid() == 0 and not subprocess.run(mount, capture_output=True).returncode)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Let nobody write to a folder, not even root; skips where the system does not let the tests
    do it."""
    bind = ["mount", "--bind", str(folder), str(folder)]
    SMALL_DISK.need(os.geteuid() == 0 and not subprocess.run(bind, capture_output=True).returncode)
    try:
        remount = ["mount", "-o", "remount,bind,ro", str(folder)]
        SMALL_DISK.need(not subprocess.run(remount, capture_output=True).returncode)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
