"""The template process, which loads all libraries and forks the workers.

A forked worker shares the memory of the libraries with the others, and starts without loading them.
It is forked twice: the process between ends at once, so that the supervisor, which adopts orphans,
becomes the parent.
"""

import ctypes
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from service.supervision.lines import encoded

PR_SET_PDEATHSIG = 1
"""https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html"""
ADOPTION_SECONDS = 10.0
"""Seconds for the supervisor to become the parent of a forked process."""


def forked(told: Mapping[str, Any], orders: socket.socket) -> dict[str, Any]:
    """Fork a process for each order. Return in the forked process, with what it was told.

    ``told`` is the supervisor's message to the template. Each order on ``orders`` is a line of JSON
    with one file: the channel of the worker. It is answered with the process id.
    """
    gc.collect()
    # The collector writes to each object that it visits. Frozen objects stay shared.
    gc.freeze()
    orders.sendall(encoded({"event": "loaded"}))
    while True:
        order, channel = _next(orders)
        between = os.fork()
        if between:
            os.close(channel)
            _, failed = os.waitpid(between, 0)
            if failed:
                sys.exit(1)  # the supervisor starts the worker in another way
            continue
        try:
            worker = os.fork()
        except OSError:
            os._exit(1)
        if worker:
            orders.sendall(encoded({"event": "forked", "process": worker}))
            os._exit(0)
        break
    orders.close()
    # A separate process group: Ctrl-C signals only the supervisor, which signals the workers.
    os.setpgid(0, 0)
    end_with(told["parent"], ADOPTION_SECONDS)
    assigned: dict[str, Any] = {**told, **json.loads(order), "channel": channel}
    fleet = assigned["fleet"]
    own = {fleet["board"], fleet["inbox"], *fleet["outboxes"], assigned["table"]}
    for file in set(told["template"]) - own:
        os.close(file)
    if assigned["affinity"]:
        os.sched_setaffinity(0, assigned["affinity"])
    return assigned


def end_with(parent: int, seconds: float = 0.0) -> None:
    """Drain and end when the supervisor is killed, because nothing else would stop this process.
    The supervisor may take ``seconds`` to become the parent."""
    end = time.monotonic() + seconds
    while os.getppid() != parent and time.monotonic() < end:
        time.sleep(0.001)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)


def _next(orders: socket.socket) -> tuple[bytes, int]:
    """Return the next order and its file. End this process when the supervisor has ended."""
    line, files = bytearray(), list[int]()
    while not line.endswith(b"\n"):
        data, found, _, _ = socket.recv_fds(orders, 2**16, 1)
        if not data:
            sys.exit(0)
        line += data
        files += found
    return bytes(line), files[0]
