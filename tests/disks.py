"""A disk that fills up soon, and a folder that cannot be written."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import SMALL_DISK


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of this many bytes; skip the test if the system does not permit it."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    SMALL_DISK.need(os.geteuid() == 0 and not subprocess.run(mount, capture_output=True).returncode)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Make a folder read-only, also for root; skip the test if the system does not permit it."""
    bind = ["mount", "--bind", str(folder), str(folder)]
    SMALL_DISK.need(os.geteuid() == 0 and not subprocess.run(bind, capture_output=True).returncode)
    try:
        remount = ["mount", "-o", "remount,bind,ro", str(folder)]
        SMALL_DISK.need(not subprocess.run(remount, capture_output=True).returncode)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
