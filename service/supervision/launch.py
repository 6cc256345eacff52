"""Chooses the supervisor for a command line, and the number of workers.

Only what the supervisor itself needs is read here. Whatever is wrong with the command line is left
to the server, which knows all settings and tells of it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from service.engine.host.resources import memory_limit, usable_cores
from service.supervision.address import Address
from service.supervision.process import VARIABLE
from service.supervision.single import Supervisor

PREFIX = "QUANTSERVE_"
YES = {"1", "true", "yes", "on", "t", "y"}
"""Other values that pydantic accepts as true."""
WORKER_BYTES = 150 * 2**20
"""That a worker may take before it has loaded a model, requests in flight included."""
LOADED_RATIO = 2.0
"""Bytes in memory for each byte of a model's file, its copy during a swap not included."""
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
    """A fleet: how many workers, where they listen, the seconds after which one whose event
    loop stands still is replaced, and how many must be ready before the server is."""

    workers: int
    address: Address
    timeout: float
    ready: int


def wants_supervisor(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether this command line of ``quantserve serve`` is to be supervised."""
    if VARIABLE in environment or {"-h", "--help", "--no-supervisor"} & set(arguments):
        return False
    return environment.get("QUANTSERVE_NO_SUPERVISOR", "").lower() not in YES


def supervise(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run this command line again as one server or several, as often as one crashes; gives the exit
    code."""
    command = [sys.executable, *sys.orig_argv[1:]]
    found = wanted(arguments, environment)
    if found is None:
        return Supervisor(command).run()
    # Imported here, because every start of the command would wait 20 ms for it.
    from service.supervision.fleet import Fleet

    return Fleet(command, *found).run()


def wanted(arguments: Sequence[str], environment: Mapping[str, str]) -> Wanted | None:
    """The requested fleet; None for one server, and for settings that the server itself will
    refuse."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name, default in DEFAULTS.items():
        given = environment.get(PREFIX + name.upper()) or default
        parser.add_argument(f"--{name.replace('_', '-')}", default=given)
    try:
        flags, _ = parser.parse_known_args(list(arguments))
        budget = int(flags.memory_budget) or memory_limit()
        workers = flags.workers
        count = _fitting(Path(flags.models), budget) if workers == "auto" else int(workers)
        address, ready = Address(flags.host, int(flags.port)), int(flags.ready_workers)
        found = Wanted(count, address, float(flags.worker_timeout), min(ready or count, count))
    except (argparse.ArgumentError, ValueError):
        return None
    return found if count > 1 else None


def _fitting(models: Path, budget: int) -> int:
    """A worker for each core, as far as the models of all of them fit into the budget."""
    each = WORKER_BYTES + LOADED_RATIO * model_bytes(models)
    return max(1, min(usable_cores(), int(budget // each)))


def model_bytes(models: Path) -> int:
    """Bytes of the versions that are likely to be loaded: the largest of each model."""
    total = 0
    try:
        folders = [each for each in models.iterdir() if each.is_dir()]
    except OSError:
        return 0
    for folder in folders:
        total += max((_bytes(each) for each in (folder, *folder.glob("[0-9]*"))), default=0)
    return total


def _bytes(folder: Path) -> int:
    try:
        return sum(each.stat().st_size for each in folder.iterdir() if each.is_file())
    except OSError:
        return 0
