"""Helpers for supervisors and their processes: signals, shared memory, the environment variable."""

import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Container, Mapping, Sequence
from typing import Any

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


class Child:
    """A process that another one has forked, and that this process has adopted. It has the methods
    of ``Popen`` that a supervisor uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""
        if self.returncode is None:
            try:
                found, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # it is not adopted yet, or its end was missed
                if not os.path.exists(f"/proc/{self.pid}"):  # noqa: PTH110 - never raises
                    self.returncode = 1
                return self.returncode
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


Process = Child | subprocess.Popen[bytes]


def started(
    command: Sequence[str], told: Mapping[str, Any], passed: Sequence[int]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process that inherits the files ``passed``. Return it, and this end of its
    channel."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    told = {**told, "channel": theirs.fileno(), "listener": None, "parent": os.getpid()}
    with theirs:
        # A separate process group: Ctrl-C signals only the supervisor, which signals the workers.
        process = subprocess.Popen(
            command,
            env={**os.environ, VARIABLE: json.dumps(told)},
            pass_fds=[theirs.fileno(), *passed],
            process_group=0,
        )
    return process, ours


def reap_orphans(known: Container[int]) -> None:
    """Remove adopted processes that have ended, for example helpers of a worker that was killed.
    The ``known`` ones are left to their owners."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in known:
            return
        os.waitpid(found.si_pid, os.WNOHANG)


def cause_of(code: int) -> str:
    """Describe the cause of a process's exit code for people."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def code_of_end(code: int) -> int:
    """Return the exit code for a process that was told to end. A process that had not installed a
    handler yet is ended by SIGTERM; this is not a failure."""
    if code == -signal.SIGTERM:
        return 0
    return code if code >= 0 else 128 - code
