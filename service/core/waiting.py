"""Estimates how long a request that arrives now would wait for its turn. Pure.

There are two estimates, and the longer one counts. The first models the time of a run as a constant
plus a time for each row, fitted to the last runs by least squares. While all runs have the same
number of rows, further rows are assumed to cost nothing. The second is the pace: the time from one
finished run to the next while requests wait. It includes time that the runs do not show: other
models that use the cores, and clients that use the event loop.
"""

from math import ceil

FADES = 0.95
"""Weight of a run relative to the run after it: about the last twenty runs count."""


def until_room(wait: float) -> float:
    """Return the seconds after which a full queue probably has room, from the ``wait`` of a request
    at its end."""
    return wait / 2


class WaitEstimate:
    """Estimates waiting times in seconds, from the runs of ``instances`` parallel instances. A run
    has up to ``preferred_rows`` rows."""

    def __init__(self, instances: int, preferred_rows: int) -> None:
        self._instances = instances
        self._preferred = preferred_rows
        # All mutable state: weighted sums over the last runs; weighted sums of the times between
        # two finished runs, and of the rows of the second run; and the time at which a run last
        # finished while requests waited.
        self._count = self._rows = self._seconds = self._squares = self._products = 0.0
        self._between = self._paced = 0.0
        self._finished: float | None = None

    def ran(self, rows: int, seconds: float) -> None:
        """Record the rows and the time of a run."""
        self._count = self._count * FADES + 1
        self._rows = self._rows * FADES + rows
        self._seconds = self._seconds * FADES + seconds
        self._squares = self._squares * FADES + rows * rows
        self._products = self._products * FADES + rows * seconds

    def finished(self, rows: int, now: float, waiting: bool) -> None:
        """Record that a run of ``rows`` rows has finished. ``waiting``: requests are left in the
        queue."""
        if self._finished is not None:
            self._between = self._between * FADES + now - self._finished
            self._paced = self._paced * FADES + rows
        self._finished = now if waiting else None

    @property
    def pace(self) -> float:
        """Seconds per row of all instances together; 0 while it is not known."""
        return self._between / self._paced if self._paced else 0.0

    def cost(self) -> tuple[float, float]:
        """Return the seconds of a run that do not depend on its rows, and the seconds per row."""
        if not self._count:
            return 0.0, 0.0
        rows, seconds = self._rows / self._count, self._seconds / self._count
        spread = self._squares / self._count - rows * rows
        if spread < 0.01 * rows * rows:
            return seconds, 0.0
        each = max(0.0, (self._products / self._count - rows * seconds) / spread)
        each = min(each, seconds / rows)
        return seconds - each * rows, each

    def wait(self, rows_ahead: int, under_way: int) -> float:
        """Return the seconds until a request's turn, with ``rows_ahead`` rows before it in the
        queue, and ``under_way`` runs that have left the queue. On average, each instance still has
        half a run to finish."""
        if not self._count:
            return 0.0
        run, row = self.cost()
        mean = self._seconds / self._count
        runs = ceil(rows_ahead / self._preferred)
        taken = max(0, under_way - self._instances) * mean
        by_runs = (runs * run + rows_ahead * row + taken) / self._instances + mean / 2
        # On average, half of each active run is done.
        unfinished = max(0.0, under_way - self._instances / 2) * self._rows / self._count
        return max(by_runs, (rows_ahead + unfinished) * self.pace)
