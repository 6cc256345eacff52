"""Whether a lone run gets all cores. Pure.

Measured at load, and again by the lone runs themselves: how much a run gains by more threads
changes with what else the host does, and with the lengths of the inputs.
"""

from dataclasses import dataclass

TRIES = {True: 64, False: 16}
"""Of so many lone runs, one is made the other way, so that its time stays known: by whether the
others get all cores."""
SLOWER = 1.15
"""From so many times the usual time on, a run on all cores is given up. While other programs hold
the cores it takes a little longer, and for seconds only."""
FADES = 0.8
"""Weight of a run next to the one after it."""


@dataclass(frozen=True, slots=True)
class LoneCores:
    """What a lone run may use: ``threads``, and the cores that all but the calling thread are bound
    to, by the numbers of the system. Without any they run where the process does."""

    threads: int
    bound_to: tuple[int, ...] = ()


class LoneTimes:
    """Chooses between the usual threads and all cores for lone runs, by seconds for each row."""

    def __init__(self) -> None:
        # All mutable state: how many lone runs were asked for, and seconds for a row, by
        # whether the run was wide.
        self._asked = 0
        self._seconds: dict[bool, float] = {}

    def next_is_wide(self) -> bool:
        """Whether the next lone run gets all cores."""
        self._asked += 1
        wide, usual = self._seconds.get(True), self._seconds.get(False)
        better = wide is None or usual is None or wide < usual * SLOWER
        return better != (self._asked % TRIES[better] == 0)

    def ran(self, rows: int, seconds: float, *, wide: bool) -> None:
        """A run was alone from its beginning to its end."""
        before = self._seconds.get(wide, seconds / rows)
        self._seconds[wide] = before * FADES + seconds / rows * (1 - FADES)
