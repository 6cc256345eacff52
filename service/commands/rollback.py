"""``quantserve rollback``: let the version before serve again."""

import argparse
import os
from typing import Any

from service.commands.progress import change
from service.commands.remote import WAIVERS, client_of, describe_remote, describe_waivers


def describe(parser: argparse.ArgumentParser) -> None:
    """The model, and what may be waived."""
    describe_remote(parser)
    describe_waivers(parser)


def run(flags: dict[str, Any]) -> int:
    """Roll back; gives the exit code.

    Raises:
        ConfigError, Unreachable
    """
    wanted = {name: flags[name] for name in WAIVERS}
    return change(client_of(flags["url"], os.environ), flags["name"], "rollback", wanted)
