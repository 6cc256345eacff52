"""Finds out what a model does with a batch, by trying: files say one thing and graphs do another.

A few rows are run alone and together. Do the answers have a row for each row? Are they the same?
At which size does a run pay? Dynamically quantized models take one scale for the whole batch, so
a row's answer there depends on its neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import numpy as np

from service.core.batching import BatchKey, BatchPolicy, Entry, assemble, split
from service.core.errors import QuantserveError
from service.core.tensors import Array, Arrays
from service.engine.execution import Run

ENOUGH_SECONDS = 0.1
"""A run that takes this long is not made longer."""
WORTH = 1.1
"""A size is worth its latency when it gives a tenth more rows a second."""
SAME = 1e-4
"""Differences of this size come from adding in another order."""
CLOSE = 1.05
"""Sizes this close in rows a second count as equal; the smaller one is taken."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found. ``seconds`` are the best times of one run, by rows, smallest size first.

    ``deviation`` is the largest difference between a row's answers alone and together, as a share
    of the output's largest value. ``equivariant``: rows in another order give the same answers in
    that order, as they do where the first axis is one of independent rows.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    deviation: float = 0.0
    equivariant: bool = True
    failure: str = ""
    """Why rows cannot share a run; empty where they can."""

    @property
    def row_seconds(self) -> float:
        """Seconds for one row alone."""
        return self.seconds.get(1, 0.0)

    @property
    def combined(self) -> bool:
        """Whether at least two rows did share a run."""
        return max(self.seconds, default=0) > 1

    @property
    def preferred_rows(self) -> int:
        """The size at which a run pays best."""
        if not self.seconds:
            return 1
        best = max(rows / seconds for rows, seconds in self.seconds.items())
        return min(n for n, seconds in self.seconds.items() if n / seconds * CLOSE >= best)


def probe(run: Run, rows: Sequence[Arrays], policy: BatchPolicy) -> Probe:
    """Run rows alone and in growing batches, put together as the batcher will.

    Raises:
        QuantserveError: a row fails alone.
    """
    alone = [run(row, None) for row in rows]
    scales = [_scale(outputs) for outputs in zip(*alone, strict=True)]
    seconds = {1: _time(lambda: run(rows[0], None))}
    deviation, equivariant, failure = 0.0, True, ""
    size = 2
    while size <= policy.max_rows and _pays(seconds):
        chosen = [i % len(rows) for i in range(size)]
        batch = [rows[i] for i in chosen]
        try:
            together = run_together(run, batch, policy)
            backwards = run_together(run, batch[::-1], policy)[::-1]
            seconds[size] = _time(partial(run_together, run, batch, policy))
        except QuantserveError as error:
            failure = f"{size} rows cannot share a run: {error}"
            break
        deviation = max(deviation, _deviation([alone[i] for i in chosen], together, scales))
        equivariant = equivariant and _deviation(together, backwards, scales) < SAME
        size *= 2
    return Probe(seconds, deviation, equivariant, failure)


def _pays(seconds: dict[int, float]) -> bool:
    """Whether to try the next size: the last two both brought nothing, or took long."""
    if list(seconds.values())[-1] > ENOUGH_SECONDS:
        return False
    rates = [rows / s for rows, s in seconds.items()]
    return len(rates) < 3 or max(rates[-2:]) > WORTH * max(rates[:-2])


def run_together(run: Run, rows: Sequence[Arrays], policy: BatchPolicy) -> list[Arrays]:
    """Run requests of one row each as one batch, as the batcher would; gives each its answer.

    Raises:
        QuantserveError: the run fails, or the rows have different shapes.
    """
    entries = tuple(
        Entry(row, 1, BatchKey(policy.row_shapes(row), None), 0, 0.0, None, None) for row in rows
    )
    if len({entry.key for entry in entries}) > 1:
        raise QuantserveError("the golden rows have different shapes")
    inputs, _ = assemble(entries, policy.padding)
    return split(entries, run(inputs, None), policy.padding)


def _time(call: Callable[[], object]) -> float:
    """The best of at least three calls, and of as many as fit in 5 ms: the first one warms up."""
    best, total, count = float("inf"), 0.0, 0
    while count < 3 or (total < 0.005 and count < 30):
        started = perf_counter()
        call()
        taken = perf_counter() - started
        best, total, count = min(best, taken), total + taken, count + 1
    return best


def _scale(outputs: tuple[Array, ...]) -> float:
    if outputs[0].dtype.kind != "f":
        return 1.0
    finite = [np.abs(o[np.isfinite(o)]) for o in outputs]
    return max((float(values.max()) for values in finite if values.size), default=0.0) or 1.0


def _deviation(expected: Sequence[Arrays], got: Sequence[Arrays], scales: Sequence[float]) -> float:
    largest = 0.0
    for wants, gots in zip(expected, got, strict=True):
        for want, answer, scale in zip(wants, gots, scales, strict=True):
            largest = max(largest, _difference(want, answer, scale))
    return largest


def _difference(want: Array, got: Array, scale: float) -> float:
    if want.shape != got.shape:
        return float("inf")
    if want.dtype.kind != "f":
        return float(np.mean(want != got)) if want.size else 0.0
    same = (want == got) | (np.isnan(want) & np.isnan(got))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(want.astype(np.float64) - got.astype(np.float64))[~same]
    return float(np.nan_to_num(difference, nan=np.inf).max()) / scale
