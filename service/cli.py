"""The command ``quantserve``. Exit codes: 0 done, 2 not usable as told."""

import argparse
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn

from service import __version__
from service.app import Server
from service.config import Settings, load_settings
from service.core.errors import ConfigError
from service.engine.model import Model
from service.engine.repository import ModelRepository
from service.quantization.cli import add_commands as add_quantization_commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives its exit code."""
    parsed = _parser().parse_args(arguments)
    flags = vars(parsed)
    flags.pop("command")
    try:
        if run := flags.get("run"):
            return int(run(parsed))
        settings = load_settings(flags, os.environ)
        return _serve(settings)
    except ConfigError as error:
        print(f"quantserve: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("quantserve", description="Serve quantized ONNX models.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve a folder of models over HTTP")
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
    add_quantization_commands(commands)
    return parser


def _serve(settings: Settings) -> int:
    _start_logs(settings)
    if not settings.models.is_dir() or not os.access(settings.models, os.R_OK | os.X_OK):
        raise ConfigError(f"models folder {settings.models} is not a readable folder")
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]

    def announce(repository: ModelRepository) -> None:
        print(_table(repository, f"http://{host}:{port}"), flush=True)

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


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = str(record.exc_info[1])
        return json.dumps(line)


def _start_logs(settings: Settings) -> None:
    as_json = settings.log_format == "json"
    if settings.log_format == "auto":
        as_json = not sys.stderr.isatty()
    stream = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    stream.setFormatter(_JsonLines() if as_json else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[stream], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _table(repository: ModelRepository, url: str) -> str:
    """What is served, for people."""
    heads = ["MODEL", "VERSION", "STATE", "PRECISION", "SIZE", "BATCHING", "INPUTS", "OUTPUTS"]
    lines = [heads, *(_row(model) for model in repository)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    rows = ("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in lines)
    return "\n".join([*rows, *_notes(repository), "", f"serving at {url}, docs at {url}/docs"])


def _row(model: Model) -> list[str]:
    version = model.serving
    if version is None:
        return [model.name, "-", "UNAVAILABLE", "", "", "", "", ""]
    cells = [model.name, str(version.number), version.state.value]
    loaded = version.loaded
    if loaded is None:
        return [*cells, "", "", "", "", ""]
    width = f" of {loaded.plan.preferred_rows}" if loaded.plan.preferred_rows > 1 else ""
    return [
        *cells,
        str(loaded.precision),
        f"{loaded.file_bytes / 1000:.0f} kB",
        f"{loaded.plan.mode.value}{width}",
        ", ".join(f"{s.name} {s}" for s in loaded.signature.inputs),
        ", ".join(f"{s.name} {s}" for s in loaded.signature.outputs),
    ]


def _notes(repository: ModelRepository) -> list[str]:
    notes = []
    for model in repository:
        version = model.serving
        reason = version.reason if version else model.reason
        note = version.loaded.plan.note if version and version.loaded else ""
        if reason or note:
            notes.append(f"  {model.name}: {reason or note}")
    return notes
