"""The supervisor's view of the template, a process with all libraries loaded that forks workers."""

import ctypes
import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from service.supervision.lines import encoded
from service.supervision.process import LONGEST_PAUSE, Child, started

PR_SET_CHILD_SUBREAPER = 36
"""https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html"""
FORK_SECONDS = 10.0
"""Seconds that the template may take to fork; after these it is replaced."""


class Template:
    """A template, which is started again when it ends. ``passed`` are the files of all workers."""

    def __init__(self, command: Sequence[str], passed: Sequence[int]) -> None:
        self._command = command
        self._passed = passed
        self._adopts = _adopt_orphans()
        # All mutable state: the process and its channel, whether its libraries are loaded, and the
        # time before which it is not started again.
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self.loaded = False
        self._again_at = 0.0

    @property
    def loading(self) -> bool:
        """True if it will be able to fork workers."""
        return self._process is not None and not self.loaded

    @property
    def process_id(self) -> int:
        """The process id; 0 without a process."""
        return self._process.pid if self._process else 0

    def start(self) -> socket.socket | None:
        """Start it, unless it runs, has just ended, or cannot be used on this system. Return the
        new channel; when it is readable, call ``hear``."""
        if not self._adopts or self._process or self._again_at > time.monotonic():
            return None
        told = {"template": list(self._passed)}
        self._process, self._channel = started(self._command, told, self._passed)
        return self._channel

    def hear(self) -> None:
        """Read that the libraries are loaded."""
        if self._channel is not None and not self.loaded:
            with suppress(OSError):
                self.loaded = bool(self._channel.recv(2**16))

    def ended(self) -> tuple[int, socket.socket] | None:
        """Return the exit code of a template that has ended, and its channel, which is closed."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        assert self._channel is not None, "it has one. This is a bug."
        channel = self._channel
        channel.close()
        self._process, self._channel, self.loaded = None, None, False
        self._again_at = time.monotonic() + LONGEST_PAUSE
        return code, channel

    def fork(self, told: Mapping[str, Any]) -> tuple[Child, socket.socket] | None:
        """Fork a worker, and return its process and the supervisor's end of its channel. Return
        None if that failed; the template is replaced then."""
        if self._channel is None or not self.loaded:
            return None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                self._channel.settimeout(FORK_SECONDS)
                line = encoded(told)
                sent = socket.send_fds(self._channel, [line], [theirs.fileno()])
                self._channel.sendall(line[sent:])
                answer = json.loads(self._channel.recv(2**16))
            except (OSError, ValueError):
                ours.close()
                self.kill()
                return None
        return Child(answer["process"]), ours

    def kill(self) -> None:
        """End it."""
        self.loaded = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _adopt_orphans() -> bool:
    """Make this process the parent of workers whose parent has ended. Return False if the system
    cannot do that."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
