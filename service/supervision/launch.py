"""Chooses the supervisor for a command line, and the number of workers.

Only the settings of the supervisor itself are read here. Errors in the command line are left to the
server, which knows all settings and reports them.
"""

import argparse
import sys
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from service.engine.host.resources import memory_limit, usable_cores
from service.supervision.address import Address
from service.supervision.own_models import own_models
from service.supervision.process import VARIABLE
from service.supervision.single import Supervisor

PREFIX = "QUANTSERVE_"
YES = {"1", "true", "yes", "on", "t", "y"}
"""Other values that pydantic accepts as true."""
WORKER_BYTES = 150 * 2**20
"""Memory that a worker may take before it has loaded a model, including requests in flight."""
LOADED_RATIO = 2.0
"""Bytes in memory for each byte of a model's file, without its copy during a swap."""
DEFAULTS = {
    "workers": "1",
    "host": "127.0.0.1",
    "port": "8000",
    "worker_timeout": "15",
    "ready_workers": "0",
    "models": "models",
    "memory_budget": "0",
}


class Wanted(NamedTuple):
    """A requested fleet: the number of workers, their address, the seconds after which a worker
    whose event loop is blocked is replaced, the number that must be ready before the server is, and
    the models with a dedicated worker, each with its worker's share of the memory.
    """

    workers: int
    address: Address
    timeout: float
    ready: int
    own: Mapping[str, float]


def wants_supervisor(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Check whether this command line of ``quantserve serve`` asks for a supervisor."""
    if VARIABLE in environment or {"-h", "--help", "--no-supervisor"} & set(arguments):
        return False
    return environment.get("QUANTSERVE_NO_SUPERVISOR", "").lower() not in YES


def supervise(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run this command line in one server process or several, and replace a process that crashes.
    Return the exit code."""
    command = [sys.executable, *sys.orig_argv[1:]]
    found = wanted(arguments, environment)
    if found is None:
        return Supervisor(command).run()
    # Imported here, because every start of the command would wait 20 ms for it.
    from service.supervision.fleet import Fleet

    return Fleet(command, *found).run()


def wanted(arguments: Sequence[str], environment: Mapping[str, str]) -> Wanted | None:
    """Return the requested fleet; None for one server, and for settings that the server itself will
    refuse. One worker is a fleet if a model has a dedicated worker."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name, default in DEFAULTS.items():
        given = environment.get(PREFIX + name.upper()) or default
        parser.add_argument(f"--{name.replace('_', '-')}", default=given)
    try:
        flags, _ = parser.parse_known_args(list(arguments))
        budget = int(flags.memory_budget) or memory_limit()
        models, workers = Path(flags.models), flags.workers
        own = {name: needed_bytes(models, [name]) for name in own_models(models)}
        # Files are measured only if memory is divided: every start would wait for it.
        each = needed_bytes(models, without=own) if own or workers == "auto" else 0.0
        count = _fitting(each, budget - sum(own.values())) if workers == "auto" else int(workers)
        address, ready = Address(flags.host, int(flags.port)), int(flags.ready_workers)
        timeout = float(flags.worker_timeout)
        total = count * each + sum(own.values())
        shares = {name: bytes / total for name, bytes in own.items()}
        found = Wanted(count, address, timeout, min(ready or count, count), shares)
    except (argparse.ArgumentError, ValueError):
        return None
    return found if count > 1 or (own and count == 1) else None


def _fitting(each: float, budget: float) -> int:
    """Return the number of workers: one for each core, limited by the memory budget. ``each`` is
    the memory of a worker, in bytes."""
    return max(1, min(usable_cores(), int(budget // each)))


def needed_bytes(
    models: Path, only: Container[str] | None = None, without: Container[str] = ()
) -> float:
    """Return the expected memory of a worker with these models, in bytes."""
    return WORKER_BYTES + LOADED_RATIO * model_bytes(models, only, without)


def model_bytes(
    models: Path, only: Container[str] | None = None, without: Container[str] = ()
) -> int:
    """Return the bytes of the versions that are likely to be loaded: the largest of each model.
    ``only`` and ``without`` select models by name."""
    total = 0
    try:
        folders = [each for each in models.iterdir() if each.is_dir()]
    except OSError:
        return 0
    for folder in folders:
        if folder.name in without or (only is not None and folder.name not in only):
            continue
        total += max((_bytes(each) for each in (folder, *folder.glob("[0-9]*"))), default=0)
    return total


def _bytes(folder: Path) -> int:
    try:
        return sum(each.stat().st_size for each in folder.iterdir() if each.is_file())
    except OSError:
        return 0
