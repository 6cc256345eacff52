"""Measures ways to run a loaded model, alternately, for ``core.tuning`` to choose from."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from time import perf_counter, thread_time

import numpy as np

from service.core.tensors import Arrays, TensorSpec
from service.core.tuning import Candidate, Measured
from service.engine.loading.deviation import Comparison
from service.engine.runtime.session import Session

ROUNDS = 5
MOST_ROWS = 32
"""Rows of the largest batch that may be tried."""


@dataclass(slots=True)
class Trial:
    """A candidate, the session and the inputs to measure it with, and the measurements."""

    candidate: Candidate
    session: Session
    inputs: Arrays
    deviation: float = 0.0
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    worked: float = 0.0

    def measured(self) -> Measured:
        """Return the figures so far."""
        return Measured(self.candidate, tuple(self.rates), tuple(self.seconds), self.deviation)

    def anew(self) -> "Trial":
        """Return the same trial without speed figures."""
        return Trial(self.candidate, self.session, self.inputs, self.deviation)


def batch_sizes(combines: bool, most: int) -> list[int]:
    """Return the batch sizes to try: powers of two; only 1 if requests do not share a run."""
    largest = min(most, MOST_ROWS) if combines else 1
    return [2**i for i in range(largest.bit_length()) if 2**i <= largest]


def batch(rows: Sequence[Arrays], count: int) -> Arrays:
    """Return a batch of ``count`` rows; rows are repeated if there are fewer."""
    taken = list(islice(cycle(rows), count))
    return taken[0] if count == 1 else tuple(map(np.concatenate, zip(*taken, strict=True)))


def compare(outputs: Sequence[TensorSpec], expected: Session, trial: Trial) -> float:
    """Return the deviation of a trial's answers from those of the ``expected`` session for the same
    inputs."""
    want, got = expected.run(trial.inputs), trial.session.run(trial.inputs)
    return Comparison(outputs, [want]).largest([want], [got])


def measure(
    trials: Sequence[Trial], seconds: float, look: Callable[[], None] = lambda: None
) -> float:
    """Measure trials alternately, for ``seconds`` in total, each at least one run a round.

    ``look`` is called before each slice. Returns the share of a core that a busy thread got, by its
    CPU time, in trials with one instance of one thread; 1 if there is no such trial.
    """
    for trial in trials:
        trial.session.run(trial.inputs)
    slice_seconds = seconds / (ROUNDS * len(trials))
    for _ in range(ROUNDS):
        for trial in trials:
            look()
            _slice(trial, slice_seconds)
    lone = [t for t in trials if t.candidate.threads == t.candidate.instances == 1]
    wall = sum(sum(trial.seconds) for trial in lone)
    return sum(trial.worked for trial in lone) / wall if wall else 1.0


def _slice(trial: Trial, seconds: float) -> None:
    started = perf_counter()
    if trial.candidate.instances == 1:
        done = [_loop(trial, started + seconds)]
    else:
        with ThreadPoolExecutor(trial.candidate.instances) as pool:
            loops = [
                pool.submit(_loop, trial, started + seconds)
                for _ in range(trial.candidate.instances)
            ]
            done = [each.result() for each in loops]
    # Sum the rate of each thread: their last runs may end at very different times.
    trial.rates.append(sum(len(took) * trial.candidate.rows / sum(took) for took, _ in done))
    for took, worked in done:
        trial.seconds += took
        trial.worked += worked


def _loop(trial: Trial, until: float) -> tuple[list[float], float]:
    """Run the trial until a time, at least once. Return the seconds of each run, and the CPU
    seconds of the thread."""
    took: list[float] = []
    before = thread_time()
    while True:
        started = perf_counter()
        trial.session.run(trial.inputs)
        ended = perf_counter()
        took.append(max(ended - started, 1e-9))
        if ended >= until:
            return took, thread_time() - before
