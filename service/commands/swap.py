"""``quantserve swap``: let another version serve."""

import argparse
import os
from typing import Any

from service.commands.progress import change
from service.commands.remote import WAIVERS, client_of, describe_remote, describe_waivers


def describe(parser: argparse.ArgumentParser) -> None:
    """The model, the version, and what may be waived."""
    describe_remote(parser)
    parser.add_argument(
        "version", metavar="VERSION", type=_version, help='a number, or "latest" for the highest'
    )
    describe_waivers(parser)


def run(flags: dict[str, Any]) -> int:
    """Swap; gives the exit code.

    Raises:
        ConfigError, Unreachable
    """
    wanted = {name: flags[name] for name in ("version", *WAIVERS)}
    return change(client_of(flags["url"], os.environ), flags["name"], "swap", wanted)


def _version(text: str) -> int | str:
    return text if text == "latest" else int(text)


_version.__name__ = "version"  # what argparse calls it when it is none
