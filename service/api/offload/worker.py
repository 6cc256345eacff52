"""The codec process: reads and writes long JSON, which would block the server's event loop.

orjson holds the GIL for a whole document, in whichever thread it runs. This process imports neither
onnxruntime nor the server. It ends when the server ends.
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
"""Seconds; after longer work, free memory is returned to the system."""


def main() -> None:
    """Run the functions received over the socket until it is closed."""
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
                answer = (False, CodecFailed("there is not enough memory for the body"))
            except Exception as error:
                answer = (False, f"{type(error).__name__}: {error}")
            del args
            send(line, answer)
            del answer
            if perf_counter() - began > LONG:
                _give_back()


def _stand_back(parent: int) -> None:
    """End when the server ends, have a lower CPU priority than the server, and be killed before it
    when memory runs out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles Ctrl-C
    os.nice(NICE)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
    if os.getppid() != parent:
        sys.exit(0)


def _give_back() -> None:
    """Return the free memory that a large body has left to the system."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # not every C library has malloc_trim
            ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
