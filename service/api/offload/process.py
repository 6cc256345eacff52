"""The server's side of the codec process. Its calls block, so they run in a thread."""

import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from service.api.offload.frames import LineBroken, receive, send, untouched
from service.core.errors import CodecFailed

R = TypeVar("R")

_log = logging.getLogger(__name__)
PATIENCE = 60
"""Seconds; the largest body takes about two."""
ALONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""One thread is enough; more threads would only use memory."""


class CodecProcess:
    """A child process that starts at the first call, and again at the next call after it died.

    It inherits its end of a socket pair and stderr, and no other file descriptor.
    """

    def __init__(self, patience: int = PATIENCE) -> None:
        self._patience = patience
        # All mutable state: both are set, or both are None.
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process, if there is one."""
        return None if self._process is None else self._process.pid

    def call(self, function: Callable[..., R], *args: Any) -> R:
        """Run a module-level function in the codec process.

        Raises:
            QuantserveError: the function raised it.
            CodecFailed: the process died, timed out, sent an invalid answer or did not start, or
                the function raised another error.
            MemoryError: there is not enough memory for the arguments or the answer.
        """
        line = self._started()
        try:
            send(line, (function, args))
            done, answer = receive(line, untouched)
        except LineBroken as broken:
            why = self._end(broken)
            _log.error("%s; the next long body starts a new process", why)
            raise CodecFailed(f"{why} while it worked on this request; try again") from None
        except MemoryError:
            self.close()  # a part of the answer is still in the socket
            raise
        except (TypeError, ValueError):
            self.close()
            raise CodecFailed("the codec process sent an invalid answer") from None
        if done:
            result: R = answer
            return result
        if isinstance(answer, Exception):
            raise answer
        _log.error("the codec process failed: %s", answer)
        raise CodecFailed("internal error while the body was decoded or encoded")

    def kill(self) -> None:
        """Kill the process, so that a call in another thread fails."""
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """End the process. Must not run while another thread is in ``call``."""
        process, line = self._process, self._line
        self._process = self._line = None
        if line is not None:
            line.close()
        if process is not None:
            process.kill()
            process.wait()

    def _started(self) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it ended while it was idle
        if self._line is None:
            try:
                self._start()
            except OSError as error:
                self.close()
                raise CodecFailed(f"the codec process does not start: {error}; try again") from None
        assert self._line is not None, "it was started"
        return self._line

    def _start(self) -> None:
        self._line, other = socket.socketpair()
        bound = struct.pack("ll", self._patience, 0)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._line.setsockopt(socket.SOL_SOCKET, option, bound)
        command = [sys.executable, "-m", f"{__package__}.worker"]
        with other:
            self._process = subprocess.Popen(
                [*command, str(other.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **ALONE},
                pass_fds=[other.fileno()],
                start_new_session=True,
            )

    def _end(self, broken: LineBroken) -> str:
        """Return the reason why the process did not answer. Kill the process if it still runs."""
        assert self._process is not None, "it was started"
        try:
            code = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self.close()
            return f"the codec process did not answer within {self._patience} s ({broken})"
        self.close()
        if code < 0:
            hint = ", possibly because memory ran out" if code == -signal.SIGKILL else ""
            return f"the codec process was killed by {signal.Signals(-code).name}{hint}"
        return f"the codec process ended with exit code {code}"
