"""Processes, each with a Triton client, that send requests at the same time.

A client alternates between two images, so that an answer to the previous request is noticed: every
answer is verified. With shared memory it writes its image to its own region before each request, as
a client with new data does; otherwise it passes the image to ``set_data_from_numpy``.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import tritonclient.utils.shared_memory as shm

from tests.system.clients import connected

SHAPE = (1, 3, 224, 224)
PREFIX = "quantserve-benchmark-"
BYTES = int(np.prod(SHAPE)) * 4
START_WITHIN = 60
"""Seconds for all processes to import what they need."""


class Job(NamedTuple):
    """The work of each process. ``protocol`` is "http" or "grpc"; ``shared`` means shared
    memory."""

    protocol: str
    address: str
    shared: bool
    seconds: float


class Clients:
    """A number of processes, which stay and connect anew for each job."""

    def __init__(self, count: int) -> None:
        context = get_context("spawn")
        self._count = count
        barrier = context.Barrier(count)
        self._pool = ProcessPoolExecutor(count, context, _prepare, (barrier,))

    def measure(self, job: Job) -> float:
        """Return the requests/s of all processes.

        Raises:
            AssertionError: an answer is wrong.
            InferenceServerException: a request was refused.
        """
        return sum(self._pool.map(_ask, [job] * self._count))

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()


def images() -> list[np.ndarray]:
    """Return the images, FP32 of SHAPE, between which a client alternates."""
    rng = np.random.default_rng(0)
    return [rng.random(SHAPE, np.float32), -rng.random(SHAPE, np.float32)]


@contextmanager
def region(client: Any) -> Iterator[tuple[Any, str]]:
    """Create shared memory for one image, registered under a name."""
    name, key = f"rows-{os.getpid()}", f"{PREFIX}{os.getpid()}"
    handle = shm.create_shared_memory_region(name, key, BYTES, create_only=True)
    try:
        client.register_system_shared_memory(name, key, BYTES)
        yield handle, name
        client.unregister_system_shared_memory(name)
    finally:
        shm.destroy_shared_memory_region(handle)


_barrier: Barrier


def _prepare(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603 - how a pool gives it to its processes
    _barrier = barrier


def _ask(job: Job) -> float:
    """Return the requests/s of this process."""
    _barrier.wait(START_WITHIN)  # so each process has one job, and all begin together
    sent = images()
    wanted = [image.mean((2, 3), keepdims=True) for image in sent]
    with connected(job.protocol, job.address) as asking, region(asking.client) as (handle, name):
        _barrier.wait(START_WITHIN)
        began, count = perf_counter(), 0
        while perf_counter() - began < job.seconds:
            image = sent[count % 2]
            if job.shared:
                shm.set_shared_memory_region(handle, [image])
                tensor = asking.module.InferInput("x", list(SHAPE), "FP32")
                tensor.set_shared_memory(name, BYTES)
            else:
                tensor = asking.given("x", image, "FP32")
            found = asking.client.infer("m", [tensor]).as_numpy("y")
            assert np.abs(found - wanted[count % 2]).max() < 1e-4, found
            count += 1
        return count / (perf_counter() - began)
