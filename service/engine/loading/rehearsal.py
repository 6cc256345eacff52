"""Loads and runs a version in a separate process first, since it may crash ONNX Runtime, never end,
or use all memory. The child process is ``rehearsal_process.py``.

A rehearsal costs a second load, and half a second to start the process. So a start does without: a
version that crashes the start is put into quarantine, and the next start leaves it out. Files that
this server has loaded before are not rehearsed either.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO

from service.config.model import ModelConfig
from service.core.checks import Check
from service.core.errors import LoadFailed
from service.core.gate import growth_check
from service.engine.storage.folder import VersionFiles
from service.files import unnamed_file

CHILD = f"{__package__}.rehearsal_process"
SECONDS = 300.0
LOOK_SECONDS = 0.02
ROOT = Path(__file__).parents[3]
"""The folder that contains the package, for any working directory."""


@dataclass(frozen=True, slots=True)
class Task:
    """The input of the child. ``room``: bytes by which the child may grow, None for no limit."""

    files: VersionFiles
    config: ModelConfig
    room: int | None
    allow_custom_ops: bool


def rehearse(
    files: VersionFiles,
    config: ModelConfig,
    room: int | None,
    stop: Callable[[], bool] = lambda: False,
    *,
    allow_custom_ops: bool = False,
    seconds: float = SECONDS,
) -> Check | None:
    """Load a version and warm it up in a child process.

    Return a failed memory check if the child grew by more than ``room`` bytes (None: no limit),
    else None. ``stop`` is polled; the rehearsal ends when it returns True.

    Raises:
        LoadFailed: the version does not load, crashes the child, or takes too long.
    """
    grown = _ask(Task(files, config, room, allow_custom_ops), stop, seconds)
    return None if grown is None or room is None else growth_check(grown, room)


def rehearse_file(path: Path, seconds: float = SECONDS) -> None:
    """Load a model file in a child process.

    Raises:
        LoadFailed: ONNX Runtime crashes on the file, or takes too long. A file that it refuses
        without a crash raises nothing here: the load in the caller reports that.
    """
    _ask(path.resolve(), lambda: False, seconds)


def _ask(task: Task | Path, stop: Callable[[], bool], seconds: float) -> int | None:
    """Run the child; return the bytes by which it grew if they were too many, else None."""
    with os.fdopen(unnamed_file(), "w+b") as answers:
        child = _start(answers)
        try:
            assert child.stdin is not None
            with suppress(BrokenPipeError), child.stdin as pipe:  # the exit status says more
                pipe.write(pickle.dumps(task))
            _wait(child, stop, monotonic() + seconds, seconds)
        finally:
            child.kill()
            child.wait()
        if child.returncode < 0:
            raise LoadFailed(_ended_by(signal.Signals(-child.returncode)))
        answers.seek(0)
        text = answers.read().decode(errors="replace")
    try:
        answer = json.loads(text)
    except ValueError:
        raise LoadFailed(
            f"the process in which it was tried ended with code {child.returncode}"
        ) from None
    if answer["reason"]:
        raise LoadFailed(answer["reason"])
    grown: int | None = answer["grown"]
    return grown


def _ended_by(number: signal.Signals) -> str:
    if number is signal.SIGKILL:
        return (
            "the process in which it was tried was killed (SIGKILL), as the kernel does when"
            " memory runs out: give the server more memory, or unload versions"
        )
    return f"it crashed the process in which it was tried ({number.name})"


def _start(answers: IO[bytes]) -> subprocess.Popen[bytes]:
    keys = {name for name in os.environ if name.startswith("QUANTSERVE_")}  # some are secrets
    environment = {name: value for name, value in os.environ.items() if name not in keys}
    modules = filter(None, (str(ROOT), environment.get("PYTHONPATH")))
    return subprocess.Popen(
        [sys.executable, "-m", CHILD],
        stdin=subprocess.PIPE,
        stdout=answers,
        stderr=subprocess.DEVNULL,
        env={**environment, "PYTHONPATH": os.pathsep.join(modules)},
        start_new_session=True,  # only the server handles Ctrl-C
    )


def _wait(
    child: subprocess.Popen[bytes], stop: Callable[[], bool], until: float, seconds: float
) -> None:
    while True:
        try:
            child.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop():
                raise LoadFailed("the load was stopped") from None
            if monotonic() > until:
                raise LoadFailed(
                    f"it was not loaded and warm after {seconds:.3g} s in a separate process"
                ) from None
        else:
            return
