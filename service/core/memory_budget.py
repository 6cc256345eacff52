"""Bytes that many take from one share. No clocks, no I/O; of one thread."""


class Budget:
    """At most ``limit`` bytes, reserved before they are allocated.

    ``held`` are those that are reserved now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def has_room(self, size: int, beyond: int = 0) -> bool:
        """Whether ``size`` more bytes fit, or go past the limit by no more than ``beyond``."""
        return self.held + size <= self.limit + beyond


class Reservation:
    """The bytes that one holder has of a budget; none at first, and none after ``release``.

    Work that goes on without the holder, in a thread or another process, is ``lent`` them.
    """

    __slots__ = ("_budget", "_lent", "_released", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._lent = 0
        self._released = False
        self.size = 0

    def resize(self, size: int, beyond: int = 0) -> bool:
        """Hold ``size`` bytes instead. False where there is no room for more: nothing changed."""
        more = size - self.size
        if more > 0 and not self._budget.has_room(more, beyond):
            return False
        self.force(size)
        return True

    def force(self, size: int) -> None:
        """Hold ``size`` bytes that are allocated already, room or not."""
        self._budget.held += size - self.size
        self.size = size

    def lend(self) -> None:
        """Until ``take_back`` the bytes stay reserved, whatever becomes of their holder."""
        self._lent += 1

    def take_back(self) -> None:
        """The work has ended, to which the bytes were lent."""
        self._lent -= 1
        if self._released:
            self.release()

    def release(self) -> None:
        """Give everything back, what is lent when it comes back; again is as good as once."""
        self._released = self._lent > 0
        if not self._released:
            self.force(0)
