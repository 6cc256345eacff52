"""Memory of unloaded models is returned to the system."""

import gc
import resource
import subprocess
import sys
from weakref import ref

import pytest

from service.engine.host.heap import forget_frames, free
from tests.parts import LINUX

FRAGMENTED = """
import ctypes, sys
from service.engine.host.heap import bound_heap
from service.engine.host.resources import resident_bytes

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def block(size):
    place = libc.malloc(size)
    ctypes.memset(place, 1, size)
    return place

if sys.argv[1] == "bound":
    assert bound_heap(2**40)
libc.free(block(30 * 2**20))  # glibc takes blocks up to this size from its heap from now on
before, blocks = resident_bytes(), []
for _ in range(20):
    blocks.append(block(4 * 2**20))
    block(100_000)  # stays, and keeps what is below it in the heap
for each in blocks:
    libc.free(each)
print(resident_bytes() - before)
"""
TENSORS = """
import resource
import numpy as np
from service.engine.host.heap import bound_heap

assert bound_heap({memory})
held = np.ones(10)
for turn in range(300):
    if turn == 100:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(75_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
MIB = 2**20


class Heavy:
    """An object that a session could hold."""


def left(how: str) -> int:
    """Return by how many bytes a process has grown after it freed 80 MiB in large blocks."""
    command = [sys.executable, "-c", FRAGMENTED, how]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


@LINUX.unless(sys.platform == "linux")
def test_large_blocks_are_returned_while_small_blocks_stay() -> None:
    assert left("bound") < 20 * MIB
    assert left("as it is") > 60 * MIB  # otherwise the bound is not needed any more


def faults(memory: int) -> int:
    """Return the page faults of 200 arrays of 600 kB in a process with this memory."""
    command = [sys.executable, "-c", TENSORS.format(memory=memory)]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


@LINUX.unless(sys.platform == "linux")
def test_memory_of_tensors_is_reused() -> None:
    pages = 200 * 600_000 / resource.getpagesize()
    assert faults(2**40) < pages / 15
    assert faults(2**20) > 0.7 * pages  # otherwise the kept memory is not needed any more


def test_the_objects_of_a_list_are_freed() -> None:
    heavy: list[object] = [Heavy(), Heavy()]
    watched = [ref(each) for each in heavy]
    free(heavy)
    assert heavy == [] and [each() for each in watched] == [None, None]


def failed(watched: list[ref[Heavy]], again: bool) -> Exception:
    """Return an error whose frames, and the frames of its cause, hold heavy objects."""

    def load() -> None:
        session = Heavy()
        watched.append(ref(session))
        raise KeyError("the model failed")

    def start() -> None:
        buffers = Heavy()
        watched.append(ref(buffers))
        try:
            load()
        except KeyError as error:
            if again:
                raise ValueError("not loaded") from error
            raise ValueError("not loaded") from None

    try:
        start()
    except ValueError as error:
        return error
    raise AssertionError("it did not fail")


@pytest.mark.parametrize("again", [True, False], ids=["cause", "context"])
def test_errors_do_not_keep_the_objects_of_their_frames(again: bool) -> None:
    watched: list[ref[Heavy]] = []
    gc.disable()
    try:
        error = failed(watched, again)
        assert all(each() is not None for each in watched)
        forget_frames(error)
        assert [each() for each in watched] == [None, None]
    finally:
        gc.enable()
    assert str(error) == "not loaded" and isinstance(error.__context__, KeyError)


def test_circular_causes_of_errors_do_not_loop() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__context__ = two, one
    forget_frames(one)
