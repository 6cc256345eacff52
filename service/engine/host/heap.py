"""Gives the memory of unloaded models back to the system.

ONNX Runtime frees a session's memory when the session goes; it is glibc that keeps it. Each free
of a large block raises the size up to which malloc takes blocks from its heaps instead of the
system (to 32 MB), so that after a few swaps the weights lie in heaps, among blocks that live on.
A fixed bound stops that. Measured over 30 swaps of a 90 MB encoder: 591 MB without it, 279 MB
with it; a heap trimmed after every swap alone comes to 288 MB with excursions to 323 MB.

Source: https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

import ctypes
import sys

M_MMAP_THRESHOLD = -3
OWN_PAGES = 2**20
"""Blocks from this many bytes on come from the system and go back to it. Tensors of requests are
mostly smaller: theirs stay in the heap, which is faster."""


def bound_heap() -> bool:
    """Let large blocks bypass the heap; False where the allocator does not know how (not glibc)."""
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(M_MMAP_THRESHOLD, OWN_PAGES))


def free(heavy: list[object]) -> None:
    """Drop what the list holds, which must be all that holds it, and give the memory back. Takes
    milliseconds for a large model: called in a thread."""
    heavy.clear()
    trim_heap()


def forget_frames(error: BaseException) -> None:
    """Let go of what the calls that raised an error had in hand: sessions, arrays. They would live
    until a garbage collection where the error and a call hold each other."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            pending += [each.__cause__, each.__context__]


def trim_heap() -> None:
    """Give free pages of the heap back. Takes milliseconds: called in a thread."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
