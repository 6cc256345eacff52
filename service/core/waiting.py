"""How long a request that comes now would wait for its turn. Pure.

Two estimates are made, and the longer one counts. The time of a run is taken to be a constant and a
part for each row, fitted to the last runs by least squares. While all runs have the same number of
rows, more rows are taken to cost nothing. The pace is the time from one finished run to the next
while requests wait: it includes what the runs do not show, such as other models that take the
cores, and clients that take the event loop's time.
"""

from math import ceil

FADES = 0.95
"""Weight of a run next to the one after it: the last twenty or so count."""


class WaitEstimate:
    """Estimates waiting times, in seconds, from the runs of ``instances`` that work side by side;
    a run takes up to ``preferred_rows`` rows."""

    def __init__(self, instances: int, preferred_rows: int) -> None:
        self._instances = instances
        self._preferred = preferred_rows
        # All mutable state: sums over the last runs, each with its weight; the same of the times
        # between two finished runs, and of the rows in the second; and when a run was finished last
        # while requests waited.
        self._count = self._rows = self._seconds = self._squares = self._products = 0.0
        self._between = self._paced = 0.0
        self._finished: float | None = None

    def ran(self, rows: int, seconds: float) -> None:
        """A run of so many rows took so long."""
        self._count = self._count * FADES + 1
        self._rows = self._rows * FADES + rows
        self._seconds = self._seconds * FADES + seconds
        self._squares = self._squares * FADES + rows * rows
        self._products = self._products * FADES + rows * seconds

    def finished(self, rows: int, now: float, waiting: bool) -> None:
        """A run of so many rows was finished; ``waiting``: requests are left in the queue."""
        if self._finished is not None:
            self._between = self._between * FADES + now - self._finished
            self._paced = self._paced * FADES + rows
        self._finished = now if waiting else None

    @property
    def pace(self) -> float:
        """Seconds for each row, from all instances together; 0 as long as it is not known."""
        return self._between / self._paced if self._paced else 0.0

    def cost(self) -> tuple[float, float]:
        """The seconds of a run that do not depend on its rows, and those for each row."""
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
        """Seconds until it is the turn of a request with so many rows before it in the queue, and
        so many runs that were taken from it. Each instance has half of a run before it."""
        if not self._count:
            return 0.0
        run, row = self.cost()
        mean = self._seconds / self._count
        runs = ceil(rows_ahead / self._preferred)
        taken = max(0, under_way - self._instances) * mean
        by_runs = (runs * run + rows_ahead * row + taken) / self._instances + mean / 2
        # Of the runs under way half is done on average.
        unfinished = max(0.0, under_way - self._instances / 2) * self._rows / self._count
        return max(by_runs, (rows_ahead + unfinished) * self.pace)
