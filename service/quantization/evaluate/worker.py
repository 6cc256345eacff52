"""Runs functions in a child process, so that a hang, a crash or lack of memory ends only the child.

Parent and child exchange pickles over two pipes. A worker calls module-level functions in order
until it is closed. A fresh worker for each model measures the memory of that model alone.
"""

import ctypes
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from select import select
from time import monotonic
from types import TracebackType
from typing import IO, Any, ParamSpec, TypeVar

from service.core.errors import ConfigError
from service.quantization.extras import what_to_install

P = ParamSpec("P")
R = TypeVar("R")
LENGTH = 8
"""Bytes of the length prefix of a message."""


class WorkFailed(Exception):
    """The function raised or timed out, or its process died; the message states the reason."""


class Worker:
    """A child process. It starts at the first call, and restarts after a call that killed it.

    Its working directory is ``folder``, since ONNX's tools leave files there; modules of the user
    are still imported from the parent's working directory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, timeout: float, function: Callable[P, R], *args: P.args, **more: P.kwargs) -> R:
        """Run a module-level function in the child. Arguments and result are pickled.

        ``timeout`` is in seconds.

        Raises:
            WorkFailed: the function raised or timed out, or the process died.
        """
        process = self._started()
        message = pickle.dumps((function, args, more))
        try:
            assert process.stdin is not None
            process.stdin.write(len(message).to_bytes(LENGTH) + message)
            process.stdin.flush()
            done, answer = pickle.loads(self._read(process, monotonic() + timeout))
        except TimeoutError:
            self.close()
            raise WorkFailed(f"took too long, more than {timeout:.3g} s") from None
        except BrokenPipeError:
            raise WorkFailed(self._death()) from None
        except BaseException:
            self.close()
            raise
        if not done:
            raise WorkFailed(answer)
        result: R = answer
        return result

    def close(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        if self._errors is not None:
            self._errors.close()
        self._process = self._errors = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=self._folder,
                env=_environment(),
                start_new_session=True,  # only the parent receives Ctrl-C
            )
        return self._process

    def _read(self, process: subprocess.Popen[bytes], until: float) -> bytes:
        assert process.stdout is not None
        size = int.from_bytes(self._take(process.stdout.fileno(), LENGTH, until))
        return self._take(process.stdout.fileno(), size, until)

    def _take(self, pipe: int, size: int, until: float) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            if not select([pipe], [], [], max(0.0, until - monotonic()))[0]:
                raise TimeoutError
            part = os.read(pipe, min(1 << 20, size - len(parts)))
            if not part:
                raise WorkFailed(self._death())
            parts += part
        return bytes(parts)

    def _death(self) -> str:
        """Return why the process ended: its signal, or its exit code and last line of stderr."""
        assert self._process is not None
        assert self._errors is not None
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = ", possibly out of memory" if -code == signal.SIGKILL else ""
            return f"the process was killed by {name}{hint}"
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"the process ended with exit code {code}{': ' + words[-1] if words else ''}"


def _environment() -> dict[str, str]:
    modules = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    # ONNX's tools iterate over sets: a fixed hash seed makes their output reproducible.
    return {**os.environ, "PYTHONPATH": modules, "PYTHONHASHSEED": "0"}


def _main() -> None:
    """Process calls from standard input until it is closed."""
    _die_with_parent()
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep the output of libraries separate from the results
    calls = os.fdopen(0, "rb")
    while head := calls.read(LENGTH):
        function, args, more = pickle.loads(calls.read(int.from_bytes(head)))
        message = pickle.dumps(_answer(function, args, more))
        answers.write(len(message).to_bytes(LENGTH) + message)
        answers.flush()


def _answer(function: Callable[..., Any], args: Any, more: Any) -> tuple[bool, Any]:
    try:
        return True, function(*args, **more)
    except ConfigError as error:  # written for the user: no class name
        return False, str(error)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (advice := what_to_install(error)):
            return False, advice
        text = " ".join(str(error).split()) or "no message"
        return False, f"{type(error).__name__}: {text}"[:600]


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    _main()
