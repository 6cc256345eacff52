"""Code of all commands to a running server: its address, the key, and the output of refusals."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from service.client import Client, Refused
from service.commands.columns import columns
from service.commands.key_file import find_key
from service.config.settings import read_keys

URL = "http://127.0.0.1:8000"
KEY = "QUANTSERVE_ADMIN_KEY"
API_KEY = "QUANTSERVE_API_KEY"
CHECKS = ("CHECK", "MEASURED", "REQUIRED", "")
WAIVERS = ("force", "allow_signature_change")
EPILOG = (
    f"The key is read from {KEY}, from the file named by {KEY}_FILE, or from the file that a server"
    " on this machine has written for its user."
)
READ_EPILOG = (
    f"If the server requires a key, it is read from {API_KEY} or from the file named by"
    f" {API_KEY}_FILE; otherwise the admin key is used, as for the commands swap and upload."
)


def describe_remote(parser: argparse.ArgumentParser) -> None:
    """Add the model and the flags for the server."""
    parser.epilog = EPILOG
    parser.add_argument("name", metavar="NAME", help="the model")
    describe_url(parser)


def describe_url(parser: argparse.ArgumentParser) -> None:
    """Add the flag for the server's address."""
    parser.add_argument(
        "--url",
        default=os.environ.get("QUANTSERVE_URL") or URL,
        help=f"address of the server (default: QUANTSERVE_URL, else {URL})",
    )


def describe_waivers(parser: argparse.ArgumentParser) -> None:
    """Add the flags that ignore failed checks."""
    parser.add_argument("--force", action="store_true", help="serve it even if it fails the gate")
    parser.add_argument(
        "--allow-signature-change",
        action="store_true",
        help="serve it even if requests to the current version would fail; V1 then answers with "
        "all outputs",
    )


def client_of(url: str, environment: Mapping[str, str]) -> Client:
    """Return a client with the first admin key of the environment, otherwise with the generated key
    of a server of this user on this machine.

    Raises:
        ConfigError: the key cannot be read.
    """
    keys = _keys(KEY, environment)
    return Client(url, keys[0] if keys else find_key(url, environment))


def reader_of(url: str, environment: Mapping[str, str]) -> Client:
    """Return a client for reading: with the first API key of the environment, otherwise with the
    admin key, which permits reading too.

    Raises:
        ConfigError: the key cannot be read.
    """
    keys = _keys(API_KEY, environment)
    return Client(url, keys[0]) if keys else client_of(url, environment)


def _keys(name: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    file = environment.get(f"{name}_FILE")
    return read_keys(name, SecretStr(environment.get(name, "")), Path(file) if file else None)


def tell_refusal(refused: Refused) -> int:
    """Print why the server refused, with its report if there is one. Returns the exit code."""
    print(f"quantserve: refused ({refused.status}): {refused}", file=sys.stderr)
    checks = report_rows(refused.document)
    if checks:
        print(columns(CHECKS, checks), file=sys.stderr)
    return 1


def report_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """Return rows of the gate's checks: name, measured value, requirement, result."""
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
