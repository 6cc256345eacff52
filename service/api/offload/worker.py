"""The codec process: reads and writes long JSON, which would block the server's event loop.

orjson holds the interpreter from the first byte to the last, whatever thread it is in. This process
imports neither onnxruntime nor the server, and ends when the server does.
"""

import ctypes
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from time import perf_counter

from service.api.offload.frames import LineBroken, receive, send
from service.core.errors import CodecFailed, QuantserveError

PR_SET_PDEATHSIG = 1
NICE = 5
"""Niceness: the event loop, which serves every client, has priority."""
LONG = 0.05
"""Seconds of work, after which there is memory to give back."""


def main() -> None:
    """Do what comes over the line, until it is closed."""
    line = socket.socket(fileno=int(sys.argv[1]))
    _stand_back(int(sys.argv[2]))
    with suppress(LineBroken):
        while True:
            function, args = receive(line)
            began = perf_counter()
            try:
                answer = (True, function(*args))
            except QuantserveError as error:
                answer = (False, error)
            except MemoryError:
                answer = (False, CodecFailed("the body takes more memory than there is"))
            except Exception as error:
                answer = (False, f"{type(error).__name__}: {error}")
            del args
            send(line, answer)
            del answer
            if perf_counter() - began > LONG:
                _give_back()


def _stand_back(parent: int) -> None:
    """End with the server, go behind it in the queue for the processor, and be the first to go when
    memory runs out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to act on
    os.nice(NICE)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
    if os.getppid() != parent:
        sys.exit(0)


def _give_back() -> None:
    """What a large body has left goes back to the system."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # not with every C library
            ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
