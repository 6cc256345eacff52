"""How many threads decode a language model: as many as give the most tokens/s, measured.

Threads run side by side, so that what they take from each other, memory above all, shows. Times are
those that they worked: a machine that loads a model is often busy with others.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from time import thread_time

from service.engine.generation.decoder import Decoder

WORTH = 1.1
"""More threads are to give this many times the tokens/s: they share the rows, and one request in
fewer rows is not faster."""
ROUNDS, STEPS = 3, 2
LENGTH = 16


def counts(cores: int, slots: int) -> list[int]:
    """The numbers of threads to try: 1, 2, 4 and so on, and all cores."""
    most = min(cores, slots)
    found = [1]
    while found[-1] * 2 < most:
        found.append(found[-1] * 2)
    return found if most == 1 else [*found, most]


def measure(
    counts: Sequence[int], slots: int, decoder: Callable[[int], Decoder]
) -> dict[int, float]:
    """Tokens/s of all rows by the number of threads that share them. ``decoder`` makes one of so
    many rows.

    Raises:
        ExecutionFailed: the graph fails.
    """
    return {count: _rate([decoder(ceil(slots / count)) for _ in range(count)]) for count in counts}


def choose(rates: Mapping[int, float]) -> int:
    """The number of threads: more than fewer ones only where they are worth it."""
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
    """The seconds of some steps."""
    rows, started = decoder.cache.rows, thread_time()
    for step in range(STEPS):
        decoder.next([0] * rows, [LENGTH + step] * rows)
    return max(thread_time() - started, 1e-9)
