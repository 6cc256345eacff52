"""The instances of one batcher: which are free, and which one runs the next batch."""

from collections.abc import Sequence

from service.core.lone import LoneTimes
from service.engine.runtime.execution import Instance

LONE_AFTER = 4
"""Runs that begin one by one after two side by side, before one gets all cores."""


class Slots:
    """A batch takes a slot of an instance, and gives it back. Each instance has ``ahead`` slots, so
    that the next batch can be handed over while it works; ``lone`` is a further instance for
    batches that run alone."""

    def __init__(
        self, instances: Sequence[Instance], ahead: int = 1, lone: Instance | None = None
    ) -> None:
        self.instances = len(instances)
        self._lone = lone
        # All mutable state: the number of slots and those that are free; how many more runs have to
        # begin one by one before the lone instance is used, and the times of lone runs.
        self.count = ahead * len(instances)
        self._free = list(instances) * ahead
        self._until_lone = 0
        self._times = LoneTimes()

    @property
    def any_free(self) -> bool:
        """Whether a batch can take a slot."""
        return bool(self._free)

    @property
    def under_way(self) -> int:
        """Batches that have a slot, those ahead of their turn included."""
        return self.count - len(self._free)

    @property
    def all_busy(self) -> bool:
        """Whether a further batch would have to wait for an instance."""
        return self.under_way >= self.instances

    @property
    def busy(self) -> int:
        """Instances at work."""
        return min(self.instances, self.under_way)

    def take(self) -> Instance:
        """Take a slot of an instance."""
        return self._free.pop()

    def give_back(self, instance: Instance) -> None:
        """Free a slot of an instance."""
        self._free.append(instance)

    def lose(self) -> None:
        """A thread does not return: its slot is gone."""
        self.count -= 1

    def runner(self, instance: Instance, *, alone: bool) -> Instance:
        """What runs the next batch: the lone instance where it is faster and runs have begun
        ``alone`` for a while, since a run on all cores delays those that begin during it."""
        if self._lone is None:
            return instance
        if not alone:
            self._until_lone = LONE_AFTER
            return instance
        self._until_lone = max(0, self._until_lone - 1)
        if self._until_lone or not self._times.next_is_wide():
            return instance
        return self._lone

    def ran(self, runner: Instance, rows: int, seconds: float) -> None:
        """A run has ended; its time counts if it was alone."""
        if self._lone is not None and not self._until_lone:
            self._times.ran(rows, seconds, wide=runner is self._lone)
