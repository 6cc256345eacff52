"""``quantserve serve``: serves a folder of models over HTTP until a signal."""

import argparse
import os
import socket
import sys
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, NamedTuple

import uvicorn
from pydantic import SecretStr

from service.app import Server
from service.commands.key_file import drop_key, key_file, make_key, read_key
from service.commands.lifetime import Ends, Lifetime, drain_seconds
from service.commands.open_files import allow_connections
from service.commands.start_log import start_log
from service.commands.table import table
from service.config.settings import Settings, load_settings
from service.core.errors import ConfigError
from service.engine.host.heap import bound_heap
from service.engine.host.resources import memory_limit
from service.engine.repository.repository import ModelRepository
from service.engine.storage.access import parties
from service.logs import logs_json, start_logs
from service.supervised import Seat, Supervised, supervised

KEYS = (
    "keys come from QUANTSERVE_ADMIN_KEY and QUANTSERVE_API_KEY or from files, several keys are "
    "separated by commas; never from arguments, which every user of the machine can list"
)


def describe(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    parser.epilog = f"Each flag can be given as a variable such as QUANTSERVE_PORT; {KEYS}."
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is SecretStr:
            hidden = argparse.SUPPRESS
            parser.add_argument(flag, action=_NoArgument, default=hidden, help=hidden)
            continue
        default = "none" if field.default is None else field.default
        text = f"{field.description} (default: {default})"
        if field.annotation is bool:
            parser.add_argument(
                flag, action="store_true", default=argparse.SUPPRESS, help=field.description
            )
        else:
            parser.add_argument(
                flag, metavar=name.rpartition("_")[2].upper(), default=argparse.SUPPRESS, help=text
            )


class _NoArgument(argparse.Action):
    """Refuses a key on the command line, without repeating its value."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(f"{self.option_strings[0]}: {KEYS}")


def run(flags: dict[str, Any]) -> int:
    """Serve until a signal. Returns the exit code.

    Raises:
        ConfigError: a setting, the folder or the port is not usable.
    """
    return _serve(load_settings(flags, os.environ))


def _serve(settings: Settings) -> int:
    start_logs(settings)
    bound_heap(settings.memory_budget or memory_limit())
    if settings.models.is_file():
        folder = settings.models.parent
        raise ConfigError(f"{settings.models} is a file: use --models {folder} --name NAME")
    if not settings.models.is_dir() or not os.access(settings.models, os.R_OK | os.X_OK):
        why = f": {parties(settings.models)}" if settings.models.is_dir() else ""
        raise ConfigError(
            f"models folder {settings.models} is not a readable folder{why};"
            " `quantserve examples DIR` makes one with the shipped models"
        )
    allow_connections()
    parent = supervised()
    seat = parent.seat
    if seat is None and settings.no_supervisor and settings.workers not in (1, "auto"):
        raise ConfigError("--workers needs the parent process: omit --no-supervisor")
    if settings.grpc_port == 0 and seat is not None:
        raise ConfigError("--grpc-port 0 requires one worker: several workers need a fixed port")
    listeners = _listeners(settings, parent)
    if settings.grpc_port and (seat is None or (seat.worker == 0 and not seat.again)):
        # Check now that the port is free: later, workers share it, or no error would be reported.
        _listen(settings.host, settings.grpc_port).close()
    settings = _share(settings, seat) if seat else settings
    host, port = (seat.host, seat.port) if seat else listeners[0].getsockname()[:2]

    url = f"http://{_where(host, port)}"

    settings, keys = _with_key(
        settings, host, port, again=bool(parent.crashes.total), given=seat.key if seat else ""
    )

    def announce(repository: ModelRepository) -> None:
        if seat is None or (seat.worker == 0 and not seat.again):
            by_grpc = _where(host, server.grpc_port) if server.grpc_port else ""
            own = seat.own if seat else {}
            _announce(repository, url, keys, by_grpc, own, _in_json(settings))
        if seat is None:
            parent.ready()

    server = Server(settings, announce, parent)
    config = uvicorn.Config(
        server,
        http=server.protocol,  # type: ignore[arg-type]  # only ever called
        lifespan="on",
        access_log=False,
        proxy_headers=False,
        log_config=None,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=drain_seconds(settings.shutdown_timeout),  # type: ignore[arg-type]
    )

    def drop() -> None:
        if seat is None or seat.all_end:
            drop_key(keys.file, keys.key)

    ends = Ends(at_close=(lambda: None) if seat else parent.closing, at_exit=drop)
    Lifetime(config, server, settings, ends).run(sockets=listeners)
    return 0


def _where(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _AdminKey(NamedTuple):
    """The file of the generated key, a line that states the key for changes, and the generated key,
    or "" if none was generated."""

    file: Path
    told: str
    key: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """The fields of the start log."""
        file = {"admin_key_file": str(self.file)} if self.key else {}
        return {"changes": self.told} | file


def _in_json(settings: Settings) -> bool:
    """Return True if JSON is to be printed on standard output."""
    # Containers merge both streams, so the format of the log applies, unless stdout is a terminal.
    apart = settings.log_format == "auto" and sys.stdout.isatty()
    return logs_json(settings) and not apart


def _announce(
    repository: ModelRepository,
    url: str,
    keys: _AdminKey,
    by_grpc: str,
    own: Mapping[str, int],
    in_json: bool,
) -> None:
    """Print the served models and the server's address. ``by_grpc`` is the address of gRPC, if any;
    ``own`` maps each model with a dedicated worker to its number."""
    if in_json:
        fields: dict[str, Any] = {**keys.fields}
        fields |= {"grpc": by_grpc} if by_grpc else {}
        fields |= {"own_workers": dict(own)} if own else {}
        print(*start_log(repository, url, fields), sep="\n", flush=True)
        return
    if isinstance(sys.stdout, TextIOWrapper):  # its encoding may lack characters of names
        sys.stdout.reconfigure(errors="backslashreplace")
    width = get_terminal_size().columns if sys.stdout.isatty() else None
    also = f"gRPC at {by_grpc}\n" if by_grpc else ""
    also += "".join(f"model {name} has a worker of its own: {n}\n" for name, n in own.items())
    print(f"{table(repository, url, width)}\n{also}{keys.told}", flush=True)


def _with_key(
    settings: Settings, host: str, port: int, again: bool, given: str
) -> tuple[Settings, _AdminKey]:
    """Return the settings with an admin key. If none is set, a key is generated in a key file.

    ``again``: the server replaces a crashed one, and keeps its key. ``given`` is the common key of
    several workers, or "".
    """
    file = key_file(host, port, os.environ)
    if settings.admin_key.get_secret_value() or settings.admin_key_file:
        drop_key(file)  # may be left over from a killed server
        return settings, _AdminKey(file, "changes need the configured admin key")
    try:
        key = (not given and again and read_key(file)) or make_key(file, given)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        hint = "set QUANTSERVE_ADMIN_KEY to allow changes"
        return settings, _AdminKey(file, f"changes are closed: {file}: {why}; {hint}")
    told = f"changes need the admin key in {file}"
    settings = settings.model_copy(update={"admin_key": SecretStr(key)})
    return settings, _AdminKey(file, told, key)


def _share(settings: Settings, seat: Seat) -> Settings:
    """Return the settings of one of several workers: its share of the cores and of the memory."""
    workers = seat.board.shared if seat.shares_port else 1
    cores = max(1, settings.cores // workers) if settings.cores else seat.cores
    budget = int((settings.memory_budget or memory_limit()) * seat.memory_share)
    update: dict[str, Any] = {"cores": cores, "memory_budget": budget}
    if not seat.shares_port:
        # The other workers have no more requests for it when it gets the signal to stop.
        update["drain_delay"] = 0.0
    return settings.model_copy(update=update)


def _listeners(settings: Settings, parent: Supervised) -> list[socket.socket]:
    """Return the sockets on which clients connect: none for a dedicated worker."""
    seat = parent.seat
    if seat is not None and not seat.shares_port:
        return []
    listener = parent.listener or (_bind(seat) if seat else _listen(settings.host, settings.port))
    parent.hand_over(listener)
    return [listener]


def _bind(seat: Seat) -> socket.socket:
    """Return a socket bound to the port that all workers share. It does not listen yet."""
    listener = socket.socket(socket.AF_INET6 if ":" in seat.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((seat.host, seat.port))
    return listener


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    listener.listen(2048)
    return listener
