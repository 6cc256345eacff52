"""``quantserve ready``: does a server serve? For health checks of containers, and for scripts.

Imports little: it is run every few seconds.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any

from service.client import Client, Refused, Unreachable


def describe(parser: argparse.ArgumentParser) -> None:
    """Where the server is."""
    parser.epilog = "Exit code 0: every model that can be is loaded and warm; 1: not yet, and why."
    parser.add_argument(
        "--url",
        default=default_url(os.environ),
        help="address of the server (default: QUANTSERVE_URL, else QUANTSERVE_PORT here)",
    )


def default_url(environment: Mapping[str, str]) -> str:
    """The server that the environment means."""
    port = environment.get("QUANTSERVE_PORT") or "8000"
    return environment.get("QUANTSERVE_URL") or f"http://127.0.0.1:{port}"


def run(flags: dict[str, Any]) -> int:
    """Ask; gives the exit code. No answer is a 1 as well: a health check must not end with 2.

    Raises:
        ConfigError: the address is none.
    """
    try:
        Client(flags["url"]).get("/v2/health/ready")
    except (Refused, Unreachable) as error:
        print(f"quantserve: not ready: {error}", file=sys.stderr)
        return 1
    print("ready")
    return 0
