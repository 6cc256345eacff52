"""``quantserve rollback``: serves the previous version again."""

import argparse
import os
from typing import Any

from service.commands.progress import change
from service.commands.remote import WAIVERS, client_of, describe_remote, describe_waivers


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the model, and the flags that ignore failed checks."""
    describe_remote(parser)
    describe_waivers(parser)


def run(flags: dict[str, Any]) -> int:
    """Roll back. Returns the exit code.

    Raises:
        ConfigError, Unreachable
    """
    wanted = {name: flags[name] for name in WAIVERS}
    return change(client_of(flags["url"], os.environ), flags["name"], "rollback", wanted)
