"""Lone runs are made the way that was faster of late, and now and then the other way."""

from hypothesis import given
from hypothesis import strategies as st

from service.core.lone import TRIES, LoneTimes

OFTEN = TRIES[True]


def choices(times: LoneTimes, usual: float, wide: float, count: int = 3 * OFTEN) -> list[bool]:
    """The choices for so many lone runs with these seconds for a row."""
    made = []
    for _ in range(count):
        made.append(times.next_is_wide())
        times.ran(2, 2 * (wide if made[-1] else usual), wide=made[-1])
    return made


def test_all_cores_come_first_and_nearly_always_while_they_are_faster() -> None:
    made = choices(LoneTimes(), usual=2.0, wide=1.0)
    assert made[0] and made.count(False) == 3


def test_a_little_slower_is_borne() -> None:
    assert choices(LoneTimes(), usual=1.0, wide=1.1).count(False) == 3


def test_the_usual_threads_are_taken_once_they_are_much_faster_and_back() -> None:
    times = LoneTimes()
    made = choices(times, usual=1.0, wide=2.0)[OFTEN:]
    assert made.count(True) == len(made) / TRIES[False]
    assert choices(times, usual=2.0, wide=1.0)[-OFTEN:].count(False) == 1


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3))
def test_neither_way_is_given_up(usual: float, wide: float) -> None:
    assert set(choices(LoneTimes(), usual, wide)) == {True, False}
