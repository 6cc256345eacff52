"""``quantserve hardware``: CPU features for quantized models, and measured speeds of kernels."""

import argparse
from typing import Any

from service.commands.extra import show
from service.quantization.evaluate.kernel_speeds import hardware, hardware_text


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the flags for output and timing."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="do not time the kernels")


def run(flags: dict[str, Any]) -> int:
    """Print the hardware. Returns the exit code."""
    found = hardware(timed=not flags["quick"])
    show(found, hardware_text(found), flags["json"])
    return 0
