"""A budget of bytes that many holders reserve from. No clock, no I/O; not thread-safe."""


class Budget:
    """At most ``limit`` bytes, reserved before they are allocated.

    ``held`` is the number of bytes that are reserved now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def has_room(self, size: int, beyond: int = 0) -> bool:
        """Return whether ``size`` more bytes fit within the limit plus ``beyond``."""
        return self.held + size <= self.limit + beyond


class Reservation:
    """The bytes of a budget that one holder has reserved; 0 at first, and 0 after ``release``.

    Work that continues without the holder, in a thread or another process, borrows the bytes with
    ``lend``: they stay reserved until ``take_back``.
    """

    __slots__ = ("_budget", "_lent", "_released", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._lent = 0
        self._released = False
        self.size = 0

    def resize(self, size: int, beyond: int = 0) -> bool:
        """Change the reservation to ``size`` bytes. Return False, and change nothing, if they do
        not fit."""
        more = size - self.size
        if more > 0 and not self._budget.has_room(more, beyond):
            return False
        self.force(size)
        return True

    def force(self, size: int) -> None:
        """Reserve ``size`` bytes that are allocated already, even beyond the limit."""
        self._budget.held += size - self.size
        self.size = size

    def lend(self) -> None:
        """Keep the bytes reserved until ``take_back``, even if the holder releases them."""
        self._lent += 1

    def take_back(self) -> None:
        """End the loan: the work that used the bytes has ended."""
        self._lent -= 1
        if self._released:
            self.release()

    def release(self) -> None:
        """Release all bytes; lent bytes are released when they are taken back. Idempotent."""
        self._released = self._lent > 0
        if not self._released:
            self.force(0)
