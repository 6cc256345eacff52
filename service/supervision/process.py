"""What every supervisor needs of the processes below it: signals, shared memory, the variable."""

import os
import signal
import tempfile

VARIABLE = "_QUANTSERVE_SUPERVISOR"
"""By which a server knows its supervisor: JSON with file descriptors and the crashes so far."""
MOST_EARLY_CRASHES = 5
"""Crashes in a row before a server was ready, until there are no more tries."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before another try after such a crash; doubled with each."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that stop a server in order: SIGTERM, Ctrl-C, and SIGHUP, which is sent when the
    terminal is closed, unless ``nohup`` has it ignored."""
    hangs_up = signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    return (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if hangs_up else ()))


def shared_memory(size: int) -> int:
    """A file descriptor of so many bytes of memory, zeros, that processes can share."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("quantserve")
    else:
        with tempfile.TemporaryFile() as named:
            file = os.dup(named.fileno())
    os.ftruncate(file, size)
    return file


def cause_of(code: int) -> str:
    """What ended a process with this code, for people."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def code_of_end(code: int) -> int:
    """The exit code for a process that was told to end. SIGTERM ends one that has not set a handler
    yet: that is no failure."""
    if code == -signal.SIGTERM:
        return 0
    return code if code >= 0 else 128 - code
