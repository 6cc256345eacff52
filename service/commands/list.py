"""``quantserve list``: the models and versions of a running server, or of a folder."""

import argparse
import os
from pathlib import Path
from typing import Any

from service.client import Refused
from service.commands.columns import columns
from service.commands.extra import show
from service.commands.listing import Listed, of_folder, of_server
from service.commands.remote import READ_EPILOG, describe_url, reader_of, tell_refusal

HEADS = ("MODEL", "VERSION", "STATE", "SERVING", "PRECISION", "BATCHING", "REASON")


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the server or the folder, and for output."""
    parser.epilog = READ_EPILOG
    describe_url(parser)
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="list the models of this folder, without a server; SERVING is then the version that "
        "would serve, and BATCHING is the setting of model.toml",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(flags: dict[str, Any]) -> int:
    """Print the list. Returns the exit code.

    Raises:
        ConfigError, Unreachable
    """
    try:
        folder = flags["models"]
        found = of_folder(folder) if folder else of_server(reader_of(flags["url"], os.environ))
    except Refused as refused:
        return tell_refusal(refused)
    show([each._asdict() for each in found], _table(found), flags["json"])
    return 0


def _table(found: list[Listed]) -> str:
    """Return the list as a table, without empty columns."""
    rows = [
        (e.name, str(e.version or "-"), e.state, "yes" if e.serving else "", e.precision,
         e.batching, e.reason)
        for e in found
    ]  # fmt: skip
    if not rows:
        return "there are no models"
    kept = [i for i in range(len(HEADS)) if any(row[i] for row in rows)]
    return columns([HEADS[i] for i in kept], [[row[i] for i in kept] for row in rows])
