"""Loads and runs a version in a process of its own first, since it may crash ONNX Runtime, never
end, or take all memory. The child is ``rehearsal_process.py``.

A rehearsal costs a second load and half a second for the process. So it is made only while other
versions serve, and for files that were not loaded before. A start makes none: a version that
crashes it is put into quarantine, and the next start leaves it out.
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
"""Where the package is found, whatever the working directory."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the child is to do. ``room``: by how many bytes it may grow, None for any."""

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
    """Load a version and warm it up elsewhere; gives the check of memory if it grew by more than
    ``room`` bytes on the way (None: any). ``stop`` is polled; once it is true, the rehearsal ends.

    Raises:
        LoadFailed: it does not load, crashes, or takes too long.
    """
    grown = _ask(Task(files, config, room, allow_custom_ops), stop, seconds)
    return None if grown is None or room is None else growth_check(grown, room)


def rehearse_file(path: Path, seconds: float = SECONDS) -> None:
    """Load a model file elsewhere.

    Raises:
        LoadFailed: ONNX Runtime crashes on it, or takes too long. A file that it refuses without a
        crash raises nothing here: the caller's own load reports that.
    """
    _ask(path.resolve(), lambda: False, seconds)


def _ask(task: Task | Path, stop: Callable[[], bool], seconds: float) -> int | None:
    """Run the child; gives the bytes by which it grew if they were too many, else None."""
    with os.fdopen(unnamed_file(), "w+b") as answers:
        child = _start(answers)
        try:
            assert child.stdin is not None
            with suppress(BrokenPipeError), child.stdin as pipe:  # how it ended says more
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
        start_new_session=True,  # Ctrl-C is the server's to act on
    )


def _wait(
    child: subprocess.Popen[bytes], stop: Callable[[], bool], until: float, seconds: float
) -> None:
    while True:
        try:
            child.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop():
                raise LoadFailed("nobody waits for it any more") from None
            if monotonic() > until:
                raise LoadFailed(
                    f"it was not loaded and warm after {seconds:.3g} s in a process of its own"
                ) from None
        else:
            return
