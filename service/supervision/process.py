"""Helpers for supervisors and their processes: signals, shared memory, the environment variable."""

import os
import signal
import tempfile

VARIABLE = "_QUANTSERVE_SUPERVISOR"
"""Environment variable for a supervised server: JSON with file descriptors and earlier crashes."""
MOST_EARLY_CRASHES = 5
"""Consecutive crashes before a server was ready, after which the supervisor gives up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before a new start after such a crash; doubled with each crash."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop a server gracefully: SIGTERM, SIGINT (Ctrl-C), and SIGHUP (sent
    when the terminal is closed) unless ``nohup`` ignores it."""
    hangs_up = signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    return (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if hangs_up else ()))


def shared_memory(size: int) -> int:
    """Return a file descriptor of ``size`` bytes of zeroed memory that processes can share."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("quantserve")
    else:
        with tempfile.TemporaryFile() as named:
            file = os.dup(named.fileno())
    os.ftruncate(file, size)
    return file


def cause_of(code: int) -> str:
    """Describe the cause of a process's exit code for people."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def code_of_end(code: int) -> int:
    """Return the exit code for a process that was told to end. A process that had not installed a
    handler yet is ended by SIGTERM; this is not a failure."""
    if code == -signal.SIGTERM:
        return 0
    return code if code >= 0 else 128 - code
