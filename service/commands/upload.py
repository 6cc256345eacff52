"""``quantserve upload``: store a file as a version of a model on the server."""

import argparse
import hashlib
import os
from pathlib import Path
from typing import Any

from service.client import Refused, model_path
from service.commands.remote import client_of, describe_remote, tell_refusal
from service.core.errors import ConfigError


def describe(parser: argparse.ArgumentParser) -> None:
    """The model, the file, and its version."""
    describe_remote(parser)
    parser.add_argument("file", metavar="FILE", type=Path, help="the ONNX file")
    parser.add_argument("--version", type=int, help="its version (default: the next one)")


def run(flags: dict[str, Any]) -> int:
    """Upload; gives the exit code.

    Raises:
        ConfigError, Unreachable
    """
    name, file = flags["name"], flags["file"]
    query = {"sha256": _sha256(file)}
    if flags["version"] is not None:
        query["version"] = str(flags["version"])
    try:
        client = client_of(flags["url"], os.environ)
        done = client.upload(model_path(name, "versions"), query, file)
    except Refused as refused:
        return tell_refusal(refused)
    size, number = done["bytes"] / 1e6, done["version"]
    print(f"{name}: stored version {number} ({done['precision']}, {size:.2f} MB)")
    print(f"let it serve with: quantserve swap {name} {number}")
    return 0


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
