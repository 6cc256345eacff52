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
    """The bytes that one holder has of a budget; none at first, and none after ``release``."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
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

    def release(self) -> None:
        """Give everything back; again is as good as once."""
        self.force(0)
