"""Times files in alternating turns, so that disturbances of the machine affect all of them equally.

Machines have slow and fast phases that last longer than a run. So the ratio of two files is taken
within each round, and the median of these ratios is reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from service.core.tensors import Array, Arrays
from service.engine.runtime.session import Session
from service.quantization.data.rows import Rows, groups

TIMED = 16
"""The number of rows to time with, used in rotation."""
SECONDS = 1.6
"""Duration of one speed comparison, which has at least LEAST_ROUNDS rounds."""
TURN_SECONDS = 0.004
"""Minimum duration of a turn. Consecutive runs load the weights into the caches only once."""
LEAST_ROUNDS, QUICK_ROUNDS, WARM_UP = 10, 8, 2


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians over alternating turns. ``rows`` is the batch size with the most rows/s.

    ``latency_ratio`` is the speed relative to FP32 at batch 1, ``throughput_ratio`` the rows/s
    relative to FP32's, each at its own best batch. Both are medians of the ratios of each round.
    """

    p50_seconds: float
    reference_p50_seconds: float
    latency_ratio: float
    rows: int
    rows_per_second: float
    reference_rows_per_second: float
    throughput_ratio: float


@dataclass(frozen=True, slots=True)
class Entrant:
    """A session, and the batch sizes to time it at in addition to 1."""

    session: Session
    sizes: tuple[int, ...] = ()

    @property
    def laps(self) -> tuple[int, ...]:
        """All batch sizes, ascending."""
        return tuple(sorted({1, *self.sizes}))


def race(rows: Rows, entrants: Sequence[Entrant], seconds: float) -> list[Timing]:
    """Time all entrants in alternation for about ``seconds``. The last one must be FP32; the result
    includes it."""
    laps = [(entrant.session, size) for entrant in entrants for size in entrant.laps]
    times = iter(_in_turns([(run, requests(rows, size)) for run, size in laps], seconds))
    taken = [{size: next(times) for size in entrant.laps} for entrant in entrants]
    return [_timing(mine, taken[-1]) for mine in taken]


def requests(rows: Rows, size: int) -> list[Arrays]:
    """Return up to 16 requests of ``size`` rows each."""
    if size == 1:
        return list(rows.feeds[:TIMED])
    places = max(groups(rows.feeds), key=len)
    return [
        tuple(
            np.concatenate([rows.feeds[places[(start + i) % len(places)]][k] for i in range(size)])
            for k in range(len(rows.feeds[0]))
        )
        for start in range(0, min(TIMED, len(places)), size)
    ]


def _timing(mine: dict[int, Array], theirs: dict[int, Array]) -> Timing:
    size, size_theirs = _best(mine), _best(theirs)
    rates, rates_theirs = size / mine[size], size_theirs / theirs[size_theirs]
    return Timing(
        float(np.median(mine[1])),
        float(np.median(theirs[1])),
        float(np.median(theirs[1] / mine[1])),
        size,
        float(np.median(rates)),
        float(np.median(rates_theirs)),
        float(np.median(rates / rates_theirs)),
    )


def _best(times: dict[int, Array]) -> int:
    return max(times, key=lambda size: size / float(np.median(times[size])))


def _in_turns(laps: Sequence[tuple[Session, list[Arrays]]], seconds: float) -> list[Array]:
    """Return for each lap an array [rounds] of seconds per run: medians of its turns, without
    warm-up."""
    least = WARM_UP + (LEAST_ROUNDS if seconds else QUICK_ROUNDS)
    rounds: list[list[float]] = []
    started = perf_counter()
    while len(rounds) < least or perf_counter() - started < seconds:
        number = len(rounds)
        rounds.append([_turn(session, feeds[number % len(feeds)]) for session, feeds in laps])
    return list(np.array(rounds[WARM_UP:]).T)


def _turn(session: Session, feed: Arrays) -> float:
    times: list[float] = []
    while sum(times) < TURN_SECONDS:
        started = perf_counter()
        session.run(feed)
        times.append(perf_counter() - started)
    return float(np.median(times))
