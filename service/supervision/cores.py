"""Divides the cores of the machine among the workers that share the port."""

import os
from collections.abc import Sequence

from service.engine.host.resources import cpu_quota, usable_cores


def threads_of_each(count: int) -> int:
    """Return the threads that each of ``count`` workers may use."""
    return max(1, usable_cores() // count)


def cores_of_each(count: int) -> list[tuple[int, ...]]:
    """Return the cores of each worker. They are empty if a CPU quota below the number of cores
    applies, or if the system cannot bind a process to cores."""
    quota = cpu_quota()
    if not hasattr(os, "sched_getaffinity"):
        return [()] * count
    cores = sorted(os.sched_getaffinity(0))
    if quota is not None and quota < len(cores):
        return [()] * count
    return shared_out(cores, count)


def shared_out(cores: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Divide cores into ``count`` parts of neighbouring cores. With fewer cores than parts, each
    part gets one core, in rotation."""
    if count >= len(cores):
        return [(cores[number % len(cores)],) for number in range(count)]
    ends = [len(cores) * number // count for number in range(count + 1)]
    return [tuple(cores[a:b]) for a, b in zip(ends, ends[1:], strict=False)]
