"""``quantserve swap``: serves another version."""

import argparse
import os
from typing import Any

from service.commands.progress import change
from service.commands.remote import WAIVERS, client_of, describe_remote, describe_waivers


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the model, the version, and the flags that ignore failed checks."""
    describe_remote(parser)
    parser.add_argument(
        "version", metavar="VERSION", type=_version, help='a number, or "latest" for the highest'
    )
    describe_waivers(parser)


def run(flags: dict[str, Any]) -> int:
    """Swap. Returns the exit code.

    Raises:
        ConfigError, Unreachable
    """
    wanted = {name: flags[name] for name in ("version", *WAIVERS)}
    return change(client_of(flags["url"], os.environ), flags["name"], "swap", wanted)


def _version(text: str) -> int | str:
    return text if text == "latest" else int(text)


_version.__name__ = "version"  # argparse names the type in its error message
