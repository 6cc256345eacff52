"""One run on all cores: for every request, or for a lone request (no other runs or waits).

Concurrent runs with one thread each give the most rows/s. But a lone request then leaves all cores
but one idle.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np

from service.core.lone import LoneCores
from service.core.tensors import Arrays
from service.engine.loading.plan import Plan, uses_cores, worth_lone
from service.engine.runtime.session import Session

LEAST_SECONDS, MOST_SECONDS = 0.3, 2.0
"""Bounds for the time of one measurement. On a machine with other work, all cores are only
sometimes free for a run. The upper bound keeps the load of a slow model short."""
COMPARED_ROWS = 3


def try_threads(
    session: Session, plan: Plan, rows: Sequence[Arrays], cores: int
) -> tuple[Session, Plan]:
    """Return a session that uses all cores for one run, if that makes a row fast enough; else the
    given session. Return the plan for it too."""
    wide = session.copy(threads=cores)
    narrow_seconds, wide_seconds = _fastest([session, wide], rows[0])
    if not uses_cores(narrow_seconds / wide_seconds, cores):
        return session, plan
    return wide, replace(plan, instances=1, threads=cores)


def lone_session(
    session: Session, rows: Sequence[Arrays], cores: LoneCores, *, measured: bool
) -> tuple[Session | None, str]:
    """Create a second session for lone requests, with a thread for each core.

    Return None if its answers are not bitwise the same, because an answer must not depend on other
    requests; the note says so. Return None also if it is not fast enough, which is tested only if
    ``measured``.

    While other programs use the cores, no number of threads is faster. Then the session is kept:
    the server measures again while it serves, see ``LoneTimes``.
    """
    threads = cores.threads
    lone = session.copy(threads=threads, spinning=True, bound_to=cores.bound_to)
    for row in rows[:COMPARED_ROWS]:
        pairs = zip(session.run(row), lone.run(row), strict=True)
        if not all(np.array_equal(*pair, equal_nan=pair[0].dtype.kind == "f") for pair in pairs):
            return None, f"answers differ with {threads} threads: a lone request runs like others"
    if measured:
        usual_seconds, lone_seconds = _fastest([session, lone], rows[0])
        speedup = usual_seconds / lone_seconds
        if not worth_lone(speedup, slowdown=1.0):
            beside = _side_by_side(session, rows[0], threads)
            if not worth_lone(speedup, beside / usual_seconds):
                return None, ""
    return lone, ""


def _side_by_side(session: Session, row: Arrays, count: int) -> float:
    """Return the best time of a run in seconds, while ``count`` runs are concurrent. It is the time
    of the slowest thread."""
    with ThreadPoolExecutor(count) as pool:
        jobs = [pool.submit(_fastest, [session], row) for _ in range(count)]
        return max(job.result()[0] for job in jobs)


def _fastest(sessions: Sequence[Session], row: Arrays) -> list[float]:
    return fastest([partial(each.run, row) for each in sessions])


def fastest(
    calls: Sequence[Callable[[], object]],
    rounds: int = 5,
    seconds: tuple[float, float] = (LEAST_SECONDS, MOST_SECONDS),
) -> list[float]:
    """Return the best time of each call in seconds.

    The calls alternate. After a warm-up round there are ``rounds`` rounds, and more until the first
    of ``seconds`` has passed. No round begins after the second of ``seconds``, but one round is
    always measured.
    """
    best, turn, began = [float("inf")] * len(calls), 0, perf_counter()
    while turn < 2 or _goes_on(turn <= rounds, perf_counter() - began, *seconds):
        for place, call in enumerate(calls):
            started = perf_counter()
            call()
            if turn:
                best[place] = min(best[place], perf_counter() - started)
        turn += 1
    return best


def _goes_on(due: bool, spent: float, least: float, most: float) -> bool:
    return spent < most and (due or spent < least)
