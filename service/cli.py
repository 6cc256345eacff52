"""The command ``quantserve``. Exit codes: 0 done, 1 the server refused, 2 wrong usage, 130
interrupted."""

import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from service import __version__
from service.commands.parser import Parser
from service.supervision.launch import supervise, wants_supervisor

COMMANDS = {
    "serve": "serve a folder of models over HTTP",
    "list": "list the models and versions of a server, or of a folder",
    "bench": "measure requests/s and latency of a model on a running server",
    "ready": "check whether a server is ready",
    "upload": "store a model file as a version on a server",
    "swap": "switch a model to another version",
    "rollback": "switch a model back to its previous version",
    "examples": "copy the shipped models into a folder",
    "quantize": "build a quantized version that is measured to be faster and accurate enough",
    "inspect": "show how a model is quantized, node by node",
    "tune": "measure the fastest settings of a model on this machine",
    "hardware": "show this machine's CPU features for quantized models",
}
"""Each is a module of ``service.commands`` with ``describe`` and ``run``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Return its exit code."""
    try:
        if arguments is not None:
            return _main(arguments)
        if _chosen(sys.argv[1:]) == "serve" and wants_supervisor(sys.argv[1:], os.environ):
            return supervise(sys.argv[1:], os.environ)
        return _main(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


def _main(arguments: Sequence[str]) -> int:
    chosen = _chosen(arguments)
    with _leaving_at_once(chosen):
        from service.client import Unreachable
        from service.core.errors import ConfigError

        command = _imported(chosen)
    parser = Parser("quantserve", description="Serve quantized ONNX models.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in COMMANDS.items():
        # An abbreviation could match an unintended flag, and its value would be shown.
        each = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        if command and name == chosen:
            command.describe(each)
    flags = vars(parser.parse_args(arguments))
    flags.pop("command")
    assert command is not None, "argparse ends where no command is named. This is a bug."
    try:
        code: int = command.run(flags)
    except (ConfigError, Unreachable) as error:
        print(f"quantserve: {error}", file=sys.stderr)
        return 2
    return code


def _chosen(arguments: Sequence[str]) -> str:
    return next((each for each in arguments if not each.startswith("-")), "")


def _imported(chosen: str) -> ModuleType | None:
    """Import the module of one command only: the server's imports take a second, which other
    commands should not wait for."""
    if chosen not in COMMANDS:
        return None
    # Imports create hardly any garbage. Repeated collections took a tenth of the start time.
    gc.disable()
    try:
        return import_module(f"{__package__}.commands.{chosen}")
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _leaving_at_once(chosen: str) -> Iterator[None]:
    """Let signals end the process while packages are imported; no work is lost then.

    An exception inside compiled code that is being initialised would appear as an ImportError. A
    server continues to stop on SIGTERM afterwards.
    """
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:  # not if the shell made the process ignore it
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    if chosen == "serve":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, interrupted)
        if chosen == "serve":
            signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    """Exit on a signal that arrives before the server installs its handlers. In the first process
    of a container, the kernel ignores signals without a handler."""
    sys.exit(0)
