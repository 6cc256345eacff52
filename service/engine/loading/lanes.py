"""Chooses how many threads decode a language model: the number with the most tokens/s, measured.

The threads run concurrently, so that the measurement includes their contention, above all for
memory bandwidth. Times are CPU times of the threads: a machine that loads a model is often busy
with other models.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from time import thread_time

from service.engine.generation.decoder import Decoder

WORTH = 1.1
"""More threads must give this many times the tokens/s. Threads share the rows, and a single request
is not faster with fewer rows a thread."""
ROUNDS, STEPS = 3, 2
LENGTH = 16


def counts(cores: int, slots: int) -> list[int]:
    """Return the numbers of threads to try: 1, 2, 4 and so on, up to the smaller of ``cores`` and
    ``slots``, which is included."""
    most = min(cores, slots)
    found = [1]
    while found[-1] * 2 < most:
        found.append(found[-1] * 2)
    return found if most == 1 else [*found, most]


def measure(
    counts: Sequence[int], slots: int, decoder: Callable[[int], Decoder]
) -> dict[int, float]:
    """Measure the tokens/s of all rows by the number of threads that share them. ``decoder`` makes
    a decoder with the given number of rows.

    Raises:
        ExecutionFailed: the graph fails.
    """
    return {count: _rate([decoder(ceil(slots / count)) for _ in range(count)]) for count in counts}


def choose(rates: Mapping[int, float]) -> int:
    """Return the number of threads: a larger one only if it gives ``WORTH`` times the tokens/s."""
    best = min(rates)
    for count in sorted(rates):
        if rates[count] >= WORTH * rates[best]:
            best = count
    return best


def _rate(decoders: Sequence[Decoder]) -> float:
    rows = sum(each.cache.rows for each in decoders)
    with ThreadPoolExecutor(len(decoders)) as pool:
        list(pool.map(_steps, decoders))  # the first run with a binding takes longer
        best = min(max(pool.map(_steps, decoders)) for _ in range(ROUNDS))
    return rows * STEPS / best


def _steps(decoder: Decoder) -> float:
    """Return the CPU seconds of ``STEPS`` steps."""
    rows, started = decoder.cache.rows, thread_time()
    for step in range(STEPS):
        decoder.next([0] * rows, [LENGTH + step] * rows)
    return max(thread_time() - started, 1e-9)
