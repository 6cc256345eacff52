"""The child process of ``rehearsal.py``: loads one model, runs it, and reports the result.

Standard input has the ``Task`` or path, pickled. Standard output gets ``{"reason": ..., "grown":
...}``. ``reason`` is why the model cannot be loaded, "" if it can. ``grown`` is set if the process
grew, or would have grown, by too many bytes: that number.
"""

import ctypes
import json
import os
import pickle
import re
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from service.core.errors import QuantserveError
from service.engine.host.heap import bound_heap
from service.engine.host.resources import memory_limit, resident_bytes
from service.engine.loading.loader import open_version
from service.engine.loading.rehearsal import Task
from service.engine.loading.samples import trial_rows
from service.engine.loading.warm_up import warm_up
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session

LOOK_SECONDS = 0.01
NICE = 10
"""The nice value of this process: serving processes have priority."""
RESERVED = 2**28
"""Bytes that an allocator may reserve in advance, beyond twice the room: ONNX Runtime's arena
doubles its size when it grows."""
REFUSED = re.compile(r"requested buffer of size (\d+)|bad_alloc|MemoryError|Unable to allocate")
"""Errors of ONNX Runtime, C++ and NumPy about memory."""
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Load one version or file, and write the answer."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not mix with the answer
    _be_harmless()
    task: Task | Path = pickle.load(sys.stdin.buffer)
    if isinstance(task, Path):
        _end(answers, _try_file(task))
    if task.room is not None:
        _limit(answers, task.room)
    _end(answers, *_try_version(task))


def _try_file(path: Path) -> str:
    with suppress(Exception):  # the load in the caller will report it
        Session(path, SessionOptions(1))
    return ""


def _try_version(task: Task) -> tuple[str, int | None]:
    config, before = task.config, resident_bytes()
    try:
        opened = open_version(task.files, config, task.allow_custom_ops)
        session, golden, note = opened.session, task.files.golden, ""
        if opened.language is None:
            _, note = trial_rows(session.signature, golden, config.probe.dims, session.run)
        if opened.language is not None or (task.room is not None and not _refused(note)):
            most = None if task.room is None else before + task.room
            warm_up(opened, config, 1, most)
    except QuantserveError as error:
        note, reason = str(error), str(error)
    except Exception as error:
        note = reason = f"{type(error).__name__}: {error}"
    else:
        reason = ""
    if task.room is not None and (wanted := _refused(note)):
        return "", resident_bytes() - before + wanted
    return reason, None


def _refused(text: str) -> int:
    """Return the bytes of memory that the system refused, according to an error text. 0 if it is
    another error; ``RESERVED`` if the text has no number."""
    found = REFUSED.search(text)
    return int(found[1] or RESERVED) if found else 0


def _limit(answers: int, room: int) -> None:
    """End the process when it has grown by more than ``room`` bytes.

    A thread checks the size every ten milliseconds. A resource limit refuses a single allocation
    that is much larger than ``room``.
    """
    before = resident_bytes()
    data = 1024 * int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0])
    most = data + 2 * room + RESERVED
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def watch() -> None:
        pause = threading.Event()
        while not pause.wait(LOOK_SECONDS):
            grown = resident_bytes() - before
            if grown > room:
                _end(answers, grown=grown)

    threading.Thread(target=watch, daemon=True).start()


def _be_harmless() -> None:
    bound_heap(memory_limit())
    os.nice(NICE)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):  # on low memory the kernel kills this process first
            Path("/proc/self/oom_score_adj").write_text("1000")


def _end(answers: int, reason: str = "", grown: int | None = None) -> NoReturn:
    """Write the answer and exit without cleaning up, which might take long or crash."""
    os.write(answers, json.dumps({"reason": reason, "grown": grown}).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
