"""The command ``quantserve``. Exit codes: 0 done, 2 not usable as told."""

import argparse
import sys
from collections.abc import Sequence

from service import __version__
from service.commands import serve
from service.commands.parser import Parser
from service.core.errors import ConfigError

COMMANDS = (serve,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives its exit code."""
    flags = vars(_parser().parse_args(arguments))
    flags.pop("command")
    run = flags.pop("run")
    try:
        code: int = run(flags)
    except ConfigError as error:
        print(f"quantserve: {error}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser("quantserve", description="Serve quantized ONNX models.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser
