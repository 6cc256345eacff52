"""Returns the memory of unloaded models to the system.

ONNX Runtime frees the memory of a session, but glibc keeps it. Each free of a large block raises
the size (up to 32 MB) below which malloc allocates from its heaps instead of the system. After a
few swaps, weights lie in the heaps between blocks that are still in use. A fixed threshold prevents
this. Measured over 30 swaps of a 90 MB encoder: 591 MB without the threshold, 279 MB with it.
Trimming the heap after every swap, without the threshold, leads to 288 MB, with peaks of 323 MB.

With a fixed threshold, glibc also stops raising the size up to which it keeps free memory at the
end of a heap. At 128 KiB, the memory of each tensor of a few hundred kilobytes is returned and
allocated again, page by page. With 8 MiB, a server that decodes JPEGs and runs EfficientNet-Lite0
reached 1.07 times the images/s.

Source: https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

import ctypes
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
OWN_PAGES = 2**20
"""Blocks of at least this many bytes are allocated from the system and returned to it. Tensors of
requests are mostly smaller: they stay in the heap, which is faster."""
KEPT_BYTES = 8 * 2**20
KEPT_SHARE = 1 / 128
"""Free memory to keep at the end of a heap, in bytes and as a share of the process's memory. Each
thread may have a heap of its own."""


def bound_heap(memory: int) -> bool:
    """Let large blocks bypass the heap, and keep some free memory in the heap. ``memory`` is the
    memory limit of the process in bytes. Return False if the allocator is not glibc's."""
    libc = _glibc()
    if libc is None:
        return False
    kept = min(KEPT_BYTES, int(memory * KEPT_SHARE))
    return bool(libc.mallopt(M_TRIM_THRESHOLD, kept) and libc.mallopt(M_MMAP_THRESHOLD, OWN_PAGES))


def free(heavy: list[object]) -> None:
    """Clear the list, which must hold the only references to its items, and return their memory to
    the system. Takes milliseconds for a large model: call it in a thread."""
    heavy.clear()
    trim_heap()


def forget_frames(error: BaseException) -> None:
    """Release the local variables of the calls that raised an error, such as sessions and arrays.
    If a frame and the error refer to each other, they would stay in memory until a garbage
    collection."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            pending += [each.__cause__, each.__context__]


def trim_heap() -> None:
    """Return free pages of the heap to the system. Takes milliseconds: call it in a thread."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
