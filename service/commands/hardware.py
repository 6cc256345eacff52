"""``quantserve hardware``: what this machine can do with few bits, with its kernels timed."""

import argparse
from typing import Any

from service.commands.extra import show
from service.quantization.evaluate.kernel_speeds import hardware, hardware_text


def describe(parser: argparse.ArgumentParser) -> None:
    """How to print, and whether to time."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="do not time the kernels")


def run(flags: dict[str, Any]) -> int:
    """Look, and print; gives the exit code."""
    found = hardware(timed=not flags["quick"])
    show(found, hardware_text(found), flags["json"])
    return 0
