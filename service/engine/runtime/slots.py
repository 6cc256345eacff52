"""The instances of one batcher: which are free, and which instance runs the next batch."""

from collections.abc import Sequence

from service.core.lone import LoneTimes
from service.engine.runtime.execution import Instance

LONE_AFTER = 4
"""After concurrent runs, the number of runs that must begin alone before a run gets all cores."""


class Slots:
    """The slots of instances. A batch occupies a slot of an instance while it runs.

    Each instance has ``ahead`` slots, so that the next batch can be passed to it while it is still
    running. ``lone`` is an additional instance for batches that run alone.
    """

    def __init__(
        self, instances: Sequence[Instance], ahead: int = 1, lone: Instance | None = None
    ) -> None:
        self.instances = len(instances)
        self._lone = lone
        # All mutable state: the number of slots and the free ones; how many more runs must begin
        # alone before the lone instance is used; and the times of lone runs.
        self.count = ahead * len(instances)
        self._free = list(instances) * ahead
        self._until_lone = 0
        self._times = LoneTimes()

    @property
    def has_lone(self) -> bool:
        """True if there is an instance for batches that run alone."""
        return self._lone is not None

    @property
    def any_free(self) -> bool:
        """True if there is a free slot."""
        return bool(self._free)

    @property
    def under_way(self) -> int:
        """The number of batches that have a slot, including those that wait for their instance."""
        return self.count - len(self._free)

    @property
    def all_busy(self) -> bool:
        """True if another batch would have to wait for an instance."""
        return self.under_way >= self.instances

    @property
    def busy(self) -> int:
        """The number of instances that are running."""
        return min(self.instances, self.under_way)

    def take(self) -> Instance:
        """Take a slot of an instance."""
        return self._free.pop()

    def give_back(self, instance: Instance) -> None:
        """Free a slot of an instance."""
        self._free.append(instance)

    def lose(self) -> None:
        """Remove the slot of a thread that does not return."""
        self.count -= 1

    def runner(self, instance: Instance, *, alone: bool) -> Instance:
        """Return the instance that runs the next batch.

        It is the lone instance if that is faster and several runs have begun ``alone``: a run on
        all cores delays runs that begin during it.
        """
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
        """Record that a run has ended. Its time counts if it was alone."""
        if self._lone is not None and not self._until_lone:
            self._times.ran(rows, seconds, wide=runner is self._lone)
