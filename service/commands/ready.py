"""``quantserve ready``: checks whether a server is ready, for health checks and scripts.

Imports few modules, since health checks run it every few seconds.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any

from service.client import Client, Refused, Unreachable


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the flag for the server's address."""
    parser.epilog = "Exit code 0: the server is ready; 1: it is not, with the reason."
    parser.add_argument(
        "--url",
        default=default_url(os.environ),
        help="address of the server (default: QUANTSERVE_URL, else QUANTSERVE_PORT on localhost)",
    )


def default_url(environment: Mapping[str, str]) -> str:
    """Return the server's URL from the environment."""
    port = environment.get("QUANTSERVE_PORT") or "8000"
    return environment.get("QUANTSERVE_URL") or f"http://127.0.0.1:{port}"


def run(flags: dict[str, Any]) -> int:
    """Ask the server. Returns the exit code. It is 1 also if there is no answer, since 2 is
    reserved in health checks.

    Raises:
        ConfigError: the address is invalid.
    """
    try:
        Client(flags["url"]).get("/v2/health/ready")
    except (Refused, Unreachable) as error:
        print(f"quantserve: not ready: {error}", file=sys.stderr)
        return 1
    print("ready")
    return 0
