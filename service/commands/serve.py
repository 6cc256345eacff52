"""``quantserve serve``: a folder of models over HTTP, until it is told to stop."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import Any

import uvicorn

from service.app import Server
from service.commands.logs import start_logs
from service.commands.table import table
from service.config import Settings, load_settings
from service.core.errors import ConfigError
from service.engine.repository import ModelRepository


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command: a flag for each setting."""
    serve = commands.add_parser("serve", help="serve a folder of models over HTTP")
    serve.set_defaults(run=run)
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        text = f"{field.description} (default: {field.default})"
        if field.annotation is bool:
            serve.add_argument(
                flag, action="store_true", default=argparse.SUPPRESS, help=field.description
            )
        else:
            serve.add_argument(
                flag, metavar=name.rpartition("_")[2].upper(), default=argparse.SUPPRESS, help=text
            )


def run(flags: dict[str, Any]) -> int:
    """Serve until a signal; gives the exit code.

    Raises:
        ConfigError: a setting, the folder or the port is not usable.
    """
    return _serve(load_settings(flags, os.environ))


def _serve(settings: Settings) -> int:
    start_logs(settings)
    if not settings.models.is_dir() or not os.access(settings.models, os.R_OK | os.X_OK):
        raise ConfigError(f"models folder {settings.models} is not a readable folder")
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def announce(repository: ModelRepository) -> None:
        width = get_terminal_size().columns if sys.stdout.isatty() else None
        print(table(repository, url, width), flush=True)

    config = uvicorn.Config(
        Server(settings, announce),
        http="httptools",
        lifespan="on",
        access_log=False,
        proxy_headers=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(settings.shutdown_timeout) or 1,
    )
    _Uvicorn(config).run(sockets=[listener])
    return 0


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal and then end with exit code 0: uvicorn would raise it again."""
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ConfigError(f"cannot listen on {where}: {error.strerror}") from None
    listener.listen(2048)
    return listener
