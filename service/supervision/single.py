"""The parent of the serving process: replaces it when it crashes, and keeps its port until then.

Imports neither onnxruntime nor numpy nor a framework, so that it stays small and no model can crash
it. The server opens the port and passes a copy of the socket to this process. The next server gets
it back, so that connections which arrive in between wait in the kernel's queue and are not refused.
The versions at work in a crash are read from shared memory (``core/ledger.py``).
"""

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from service.core.crashes import Crashes
from service.core.ledger import SIZE, Work, read_work
from service.supervision.process import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MOST_EARLY_CRASHES,
    VARIABLE,
    cause_of,
    shared_memory,
    stop_signals,
)


class Supervisor:
    """Runs one server at a time, and starts a new one after a crash."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._shared = shared_memory(SIZE)
        self._table = mmap.mmap(self._shared, SIZE)
        # All mutable state: the listening socket (None while none is open), the server
        # process, whether it became ready, the crashes so far, and whether a stop was signalled.
        self._listener: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._was_ready = False
        self._crashes = Crashes()
        self._told_to_stop = False

    def run(self) -> int:
        """Run until the server ends by itself or is told to stop. Return the exit code."""
        for number in stop_signals():
            signal.signal(number, self._forward)
        early = 0
        while True:
            code = self._serve_once()
            if self._told_to_stop or code == 0 or (code > 0 and not self._was_ready):
                return code if code >= 0 else 128 - code
            self._crashes = self._crashes.with_crash(cause_of(code), read_work(self._table[:]))
            early = 0 if self._was_ready else early + 1
            if early == MOST_EARLY_CRASHES:
                text = f"the server died {early} times before it was ready: {self._crashes.last}"
                print(f"quantserve: {text}", file=sys.stderr, flush=True)
                return 128 - code if code < 0 else code
            self._pause(early)

    def _serve_once(self) -> int:
        """Start a server, read its messages, and wait for its end. Return its exit code."""
        self._table[:] = bytes(SIZE)
        self._was_ready = False
        ours, theirs = socket.socketpair()
        passed = [theirs.fileno(), self._shared]
        if self._listener is not None:
            passed.append(self._listener)
        told = {
            "channel": theirs.fileno(),
            "table": self._shared,
            "listener": self._listener,
            "parent": os.getpid(),
            "crashes": self._crashes.to_json(),
        }
        # A separate process group: Ctrl-C reaches only the supervisor, which passes it on once.
        self._server = subprocess.Popen(
            self._command,
            env={**os.environ, VARIABLE: json.dumps(told)},
            pass_fds=passed,
            process_group=0,
        )
        theirs.close()
        with ours:
            self._hear(ours)
        return self._server.wait()

    def _hear(self, channel: socket.socket) -> None:
        """Read the server's messages, one JSON line each, until it closes its end."""
        rest = b""
        while True:
            data, files, _, _ = socket.recv_fds(channel, 65536, 1)
            if not data:
                return
            if files:
                self._listener = files[0]
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, message: Mapping[str, object]) -> None:
        if message["event"] == "ready":
            self._was_ready = True
        elif message["event"] == "closing" and self._listener is not None:
            os.close(self._listener)
            self._listener = None
        elif message["event"] == "try again":
            work = Work(str(message["model"]), int(str(message["version"])))
            self._crashes = self._crashes.without_blame(work)

    def _forward(self, number: int, _: FrameType | None) -> None:
        self._told_to_stop = True
        server = self._server
        if server is not None and server.returncode is None:
            os.kill(server.pid, number)

    def _pause(self, early: int) -> None:
        """Wait before a new start, unless the last server had been ready."""
        if not early:
            return
        until = time.monotonic() + min(LONGEST_PAUSE, FIRST_PAUSE * 2**early)
        while time.monotonic() < until and not self._told_to_stop:
            time.sleep(0.05)
