"""Probes how a model handles batches. Files do not always describe what their graphs do.

A few rows are run alone and together. Does the answer have one row for each input row? Is a row's
answer independent of the other rows? Which batch size gives the most rows/s? Dynamically quantized
models use one scale for the whole batch, so a row's answer depends on the other rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from time import thread_time

import numpy as np

from service.core.assembly import assemble, split
from service.core.batching import BatchKey, BatchPolicy, Entry
from service.core.errors import ExecutionFailed, QuantserveError
from service.core.tensors import Arrays, TensorSpec
from service.engine.loading.axes import Counts
from service.engine.loading.deviation import Comparison
from service.engine.runtime.execution import Run

ENOUGH_SECONDS = 0.05
"""After a run that takes longer, no larger batch is tried."""
WORTH = 1.1
"""A batch size is worth its latency if it gives at least 10 % more rows/s."""
DIVIDED = 1.15
"""Two runs of half a batch each may take this many times the time of one run of the whole, if two
instances run them at once."""
RUN_SECONDS = 0.0001
"""The cost of a run beside the graph: the switch to a thread and back, metrics, splitting."""
SAME = 0.02
"""Answers that differ by no more count as the same. Kernels that round differently at another place
or batch size cause up to two steps of 8 bits. If the first axis is no batch axis, answers change by
more."""
ENOUGH_ROWS = 8
"""Smaller batch sizes are always tried, unless they take long, to find out whether rows may share a
run."""
ROUNDS = 3
ROUND_SECONDS = 0.002
MOST_SECONDS = 0.5

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Probe:
    """The results of a probe. ``seconds`` has the best time of a run by rows, smallest size first.

    ``deviation`` is the largest difference between a row's answers alone and together, as a share
    of the output's largest value. ``neighbours`` is the part of it that is not rounding: the
    difference between answers at the same place of two batches of the same size, with different
    other rows. ``repeatable``: a row has the same answers in two runs. ``equivariant``: rows in
    another order have the same answers in that order, as independent rows do. ``row_per_row``:
    outputs have as many rows as the inputs. ``alike``: there was only one row, and a batch of
    copies of it cannot show an effect of other rows. ``counts`` are the numbers of rows that the
    inputs may have, tried only if the file leaves open whether they share a batch.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    deviation: float = 0.0
    neighbours: float = 0.0
    repeatable: bool = True
    equivariant: bool = True
    row_per_row: bool = True
    alike: bool = False
    counts: Counts = Counts.UNTRIED
    failure: str = ""
    """Why rows cannot share a run; "" if they can."""

    @property
    def row_seconds(self) -> float:
        """Seconds for one row alone."""
        return self.seconds.get(1, 0.0)

    def rate(self, rows: int) -> float:
        """Return the rows/s of batches of a measured size."""
        return rows / (self.seconds[rows] + RUN_SECONDS)

    def preferred_rows(self, least: int = 1) -> int:
        """Return the smallest batch size, at least ``least``, with about the most rows/s."""
        rates = {rows: self.rate(rows) for rows in self.seconds if rows >= least}
        best = max(rates.values(), default=0.0)
        return next((rows for rows, rate in rates.items() if rate * WORTH >= best), least)

    def divided_rows(self) -> int:
        """Return the smallest batch size from which on twice the rows take about twice the time, so
        that idle instances may divide a batch; 0 if there is none."""
        found = 0
        for rows in sorted(self.seconds, reverse=True):
            if 2 * rows not in self.seconds:
                continue
            if self.rate(2 * rows) > DIVIDED * self.rate(rows):
                break
            found = rows
        return found


def probe(
    run: Run,
    outputs: Sequence[TensorSpec],
    rows: Sequence[Arrays],
    max_rows: int,
    clock: Clock = thread_time,
) -> Probe:
    """Run rows, each a separate request, alone and in growing batches.

    ``clock`` returns seconds. If the graph runs on one thread, it is the CPU time of the thread:
    the wall time depends on other work on the machine while a model is loaded.

    Raises:
        QuantserveError: a row fails alone.
    """
    trial = _Trial(run, outputs, rows, clock)
    size = 1
    while size < max_rows and trial.worth_more():
        size = min(2 * size, max_rows)
        if not trial.together(size):
            break
    trial.time_again()
    return trial.found()


def run_together(run: Run, rows: Sequence[Arrays], policy: BatchPolicy) -> list[Arrays]:
    """Run rows in one run, assembled and split as by the batcher; return the answer of each.

    Raises:
        QuantserveError: the rows cannot share a run.
    """
    entries = tuple(
        Entry(row, 1, BatchKey(policy.row_shapes(row), None), 0, 0.0, None, None) for row in rows
    )
    if len({entry.key for entry in entries}) > 1:
        raise ExecutionFailed("rows of different shapes cannot share a run")
    inputs, _ = assemble(entries, policy.padding)
    return split(entries, run(inputs, None), policy.padding)


class _NotRowPerRow(Exception):
    """An output does not have one row for each input row."""


class _Trial:
    """A running probe. Its state is created here; ``together`` and the timing methods change it."""

    def __init__(
        self, run: Run, outputs: Sequence[TensorSpec], rows: Sequence[Arrays], clock: Clock
    ) -> None:
        self._run, self._outputs, self._rows, self._clock = run, outputs, rows, clock
        self._alone = [run(rows[0], None)]
        again = Comparison(outputs, self._alone).largest(self._alone, [run(rows[0], None)])
        self._repeatable = again <= SAME
        self._row_per_row = all(array.shape[:1] == (1,) for array in self._alone[0])
        self._deviation = self._neighbours = self._order = 0.0
        self._failure = ""
        self._settled = 0
        self._seconds = {1: self._time(1)}

    def found(self) -> Probe:
        """Return the results so far."""
        return Probe(
            dict(self._seconds),
            self._deviation,
            self._neighbours,
            self._repeatable,
            self._order <= SAME,
            self._row_per_row,
            len(self._rows) == 1,
            failure=self._failure,
        )

    def together(self, size: int) -> bool:
        """Run a batch, compare its answers and time it; return False if rows cannot share a run."""
        count = len(self._rows)
        self._alone += [self._run(row, None) for row in self._rows[len(self._alone) : size]]
        rows = [self._rows[i % count] for i in range(size)]
        alone = [self._alone[i % count] for i in range(size)]
        try:
            self._compare(rows, alone)
            self._seconds[size] = self._time(size)
        except (QuantserveError, _NotRowPerRow) as error:
            self._failure = f"{size} rows cannot share a run: {error}"
            self._row_per_row = self._row_per_row and not isinstance(error, _NotRowPerRow)
            return False
        return True

    def _compare(self, rows: list[Arrays], alone: list[Arrays]) -> None:
        apart = Comparison(self._outputs, self._alone).largest
        answers = self._answers(rows)
        self._deviation = max(self._deviation, apart(alone, answers))
        backwards = self._answers(rows[::-1])[::-1]
        self._order = max(self._order, apart(answers, backwards))
        # Replace every second row by a copy of its neighbour, then every other row.
        for first in (0, 1):
            pairs = [rows[min(i - i % 2 + first, len(rows) - 1)] for i in range(len(rows))]
            kept = self._answers(pairs)[first::2]
            self._neighbours = max(self._neighbours, apart(answers[first::2], kept))

    def _answers(self, rows: Sequence[Arrays]) -> list[Arrays]:
        outputs = self._run(_joined(rows), None)
        for spec, array in zip(self._outputs, outputs, strict=True):
            if array.shape[:1] != (len(rows),):
                shape = list(array.shape)
                raise _NotRowPerRow(f'output "{spec.name}" has shape {shape} for {len(rows)} rows')
        return [tuple(array[i : i + 1] for array in outputs) for i in range(len(rows))]

    def worth_more(self) -> bool:
        """Return True to try a larger batch size.

        Return False if the last size took long, or if the last two sizes gave no more rows/s.
        Before that, all sizes are measured again, in case other load disturbed the measurement. Two
        rows are always tried.
        """
        if len(self._seconds) == 1:
            return True
        if not self._promising():
            self.time_again()
        return self._promising()

    def _promising(self) -> bool:
        size, taken = list(self._seconds.items())[-1]
        return taken <= ENOUGH_SECONDS and (size < ENOUGH_ROWS or self._gained())

    def _gained(self) -> bool:
        rates = [rows / taken for rows, taken in self._seconds.items()]
        return len(rates) < 3 or max(rates[-2:]) > WORTH * max(rates[:-2])

    def time_again(self) -> None:
        """Measure all sizes again alternately, for at most half a second or so, so that other load
        on the machine affects them alike. Does nothing if no size was added since the last time."""
        if self._settled == len(self._seconds):
            return
        self._settled, spent = len(self._seconds), 0.0
        for _ in range(ROUNDS):
            for size, before in self._seconds.items():
                if spent > MOST_SECONDS:
                    return
                started = self._clock()
                self._seconds[size] = min(before, self._time(size))
                spent += self._clock() - started

    def _time(self, size: int) -> float:
        """Return the best time of at least two runs, and of more if a run is shorter than
        ``ROUND_SECONDS``. A run longer than ``MOST_SECONDS`` is not repeated."""
        rows = [self._rows[i % len(self._rows)] for i in range(size)]
        first = self._once(rows)
        if first > MOST_SECONDS:
            return first
        count = min(20, ceil(ROUND_SECONDS / first))
        return min(first, *(self._once(rows) for _ in range(count)))

    def _once(self, rows: list[Arrays]) -> float:
        started = self._clock()
        self._run(_joined(rows), None)
        return max(self._clock() - started, 1e-6)


def _joined(rows: Sequence[Arrays]) -> Arrays:
    return rows[0] if len(rows) == 1 else tuple(map(np.concatenate, zip(*rows, strict=True)))
