"""How fast files are beside each other: medians of runs in turns, so disturbances are shared."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from service.core.tensors import Arrays
from service.engine.session import Session
from service.quantization.data import Rows, groups

TIMED = 16
"""Rows that the timing goes through in turns."""
SECONDS = 1.2
"""Time for one comparison of speed; never fewer than the least rounds."""
LEAST_ROUNDS, MOST_ROUNDS = 10, 400
QUICK_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians over alternating runs. ``rows`` is the batch size at which rows/s are highest."""

    p50_seconds: float
    reference_p50_seconds: float
    rows: int
    rows_per_second: float
    reference_rows_per_second: float

    @property
    def latency_ratio(self) -> float:
        """How many times faster than FP32 at batch 1."""
        return self.reference_p50_seconds / self.p50_seconds

    @property
    def throughput_ratio(self) -> float:
        """How many times as many rows/s as FP32, each at its best batch."""
        return self.rows_per_second / self.reference_rows_per_second


def requests(rows: Rows, size: int) -> list[Arrays]:
    """Up to 16 requests of so many rows each."""
    if size == 1:
        return list(rows.feeds[:TIMED])
    places = max((g for g, _ in groups(rows.feeds)), key=len)
    return [
        tuple(
            np.concatenate([rows.feeds[places[(start + i) % len(places)]][k] for i in range(size)])
            for k in range(len(rows.feeds[0]))
        )
        for start in range(0, min(TIMED, len(places)), size)
    ]


def in_turns(pairs: Sequence[tuple[Session, list[Arrays]]], seconds: float) -> list[float]:
    """The median time of one run of each, taken in turns; the first rounds warm up."""
    taken: list[list[float]] = [[] for _ in pairs]
    started, rounds = perf_counter(), 0
    while rounds < _least(seconds) or (rounds < MOST_ROUNDS and perf_counter() - started < seconds):
        for (session, feeds), times in zip(pairs, taken, strict=True):
            feed = feeds[rounds % len(feeds)]
            start = perf_counter()
            session.run(feed)
            times.append(perf_counter() - start)
        rounds += 1
    return [float(np.median(times[2:])) for times in taken]


def _least(seconds: float) -> int:
    return LEAST_ROUNDS if seconds else QUICK_ROUNDS


def best_rate(
    single: float, reference: float, batches: list[tuple[int, float]],
    reference_batch: tuple[int, float],
) -> Timing:  # fmt: skip
    """Each at the size that gives it the most rows/s; a single row is a size too."""
    size, seconds = max([(1, single), *batches], key=lambda pair: pair[0] / pair[1])
    size_theirs, seconds_theirs = max(
        [(1, reference), reference_batch], key=lambda pair: pair[0] / pair[1]
    )
    return Timing(single, reference, size, size / seconds, size_theirs / seconds_theirs)
