"""What the commands to a running server share: its address, the key, how a refusal is told."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from service.client import Client, Refused
from service.commands.columns import columns
from service.config import read_keys

URL = "http://127.0.0.1:8000"
KEY = "QUANTSERVE_ADMIN_KEY"
CHECKS = ("CHECK", "MEASURED", "REQUIRED", "")
EPILOG = f"The key is taken from {KEY}, or from the file that {KEY}_FILE names."


def describe_remote(parser: argparse.ArgumentParser) -> None:
    """What every command on a model of a running server takes."""
    parser.epilog = EPILOG
    parser.add_argument("name", metavar="NAME", help="the model")
    parser.add_argument(
        "--url",
        default=os.environ.get("QUANTSERVE_URL") or URL,
        help=f"address of the server (default: QUANTSERVE_URL, else {URL})",
    )


def client_of(url: str, environment: Mapping[str, str]) -> Client:
    """A client with the first of the keys in the environment.

    Raises:
        ConfigError: the key cannot be read.
    """
    file = environment.get(f"{KEY}_FILE")
    keys = read_keys(KEY, SecretStr(environment.get(KEY, "")), Path(file) if file else None)
    return Client(url, keys[0] if keys else "")


def tell_refusal(refused: Refused) -> int:
    """Say why the server refused, with its report where it made one; gives the exit code."""
    print(f"quantserve: refused ({refused.status}): {refused}", file=sys.stderr)
    checks = report_rows(refused.document)
    if checks:
        print(columns(CHECKS, checks), file=sys.stderr)
    return 1


def report_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """What the gate checked, what it measured and what it requires."""
    return [
        [
            " ".join(filter(None, (f"{each['name']}:", each["measure"], each.get("output")))),
            _shown(each["measured"]),
            _shown(each["required"]),
            "ok" if each["passed"] else f"FAILED {each.get('detail', '')}".rstrip(),
        ]
        for each in document.get("checks", [])
    ]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
