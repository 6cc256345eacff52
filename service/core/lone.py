"""Decides whether a lone run, one that begins while nothing else runs, gets all cores. Pure.

The gain is measured at load, and again by the lone runs themselves: it changes with the other load
on the host, and with the lengths of the inputs.
"""

from dataclasses import dataclass

TRIES = {True: 64, False: 16}
"""One lone run in so many uses the other number of threads, so that its time stays known. The key
says whether the other runs get all cores."""
SLOWER = 1.15
"""All cores are no longer used once they take this many times the usual time. While other programs
use the cores, a run on all cores takes a little longer, but only for seconds."""
FADES = 0.8
"""Weight of a run relative to the run after it."""


@dataclass(frozen=True, slots=True)
class LoneCores:
    """What a lone run may use: ``threads``, and the cores that all but the calling thread are bound
    to, by the numbers of the system. Without any they run where the process does."""

    threads: int
    bound_to: tuple[int, ...] = ()


class LoneTimes:
    """Chooses between the usual threads and all cores for lone runs, by the seconds per row."""

    def __init__(self) -> None:
        # All mutable state: the number of lone runs asked for, and the seconds per row of the wide
        # runs (True: on all cores) and of the other runs.
        self._asked = 0
        self._seconds: dict[bool, float] = {}

    def next_is_wide(self) -> bool:
        """Return whether the next lone run gets all cores."""
        self._asked += 1
        wide, usual = self._seconds.get(True), self._seconds.get(False)
        better = wide is None or usual is None or wide < usual * SLOWER
        return better != (self._asked % TRIES[better] == 0)

    def ran(self, rows: int, seconds: float, *, wide: bool) -> None:
        """Record the time of a run that was alone from its beginning to its end."""
        before = self._seconds.get(wide, seconds / rows)
        self._seconds[wide] = before * FADES + seconds / rows * (1 - FADES)
