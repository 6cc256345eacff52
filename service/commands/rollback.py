"""``quantserve rollback``: let the version before serve again."""

import argparse
import os
from typing import Any

from service.commands.progress import change
from service.commands.remote import client_of, describe_remote


def describe(parser: argparse.ArgumentParser) -> None:
    """The model."""
    describe_remote(parser)


def run(flags: dict[str, Any]) -> int:
    """Roll back; gives the exit code.

    Raises:
        ConfigError, Unreachable
    """
    return change(client_of(flags["url"], os.environ), flags["name"], "rollback", {})
