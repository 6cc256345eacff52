"""Lone runs use the threads that were faster recently, and occasionally the others."""

from hypothesis import given
from hypothesis import strategies as st

from service.core.lone import TRIES, LoneTimes

OFTEN = TRIES[True]


def choices(times: LoneTimes, usual: float, wide: float, count: int = 3 * OFTEN) -> list[bool]:
    """Return the choices for a series of lone runs with these seconds for each row."""
    made = []
    for _ in range(count):
        made.append(times.next_is_wide())
        times.ran(2, 2 * (wide if made[-1] else usual), wide=made[-1])
    return made


def test_all_cores_are_tried_first_and_used_mostly_while_faster() -> None:
    made = choices(LoneTimes(), usual=2.0, wide=1.0)
    assert made[0] and made.count(False) == 3


def test_slightly_slower_runs_keep_all_cores() -> None:
    assert choices(LoneTimes(), usual=1.0, wide=1.1).count(False) == 3


def test_switches_to_usual_threads_when_much_faster_and_back() -> None:
    times = LoneTimes()
    made = choices(times, usual=1.0, wide=2.0)[OFTEN:]
    assert made.count(True) == len(made) / TRIES[False]
    assert choices(times, usual=2.0, wide=1.0)[-OFTEN:].count(False) == 1


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3))
def test_both_ways_are_always_tried_again(usual: float, wide: float) -> None:
    assert set(choices(LoneTimes(), usual, wide)) == {True, False}
