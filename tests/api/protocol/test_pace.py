"""Long work rests now and then, and is refused where it would hold up the event loop."""

from time import perf_counter

import pytest

from service.api.protocol.pace import REST, WORK, Pace, TakesLong, go_on, not_here


def test_it_rests_after_work_and_not_before() -> None:
    pace = Pace()
    until = perf_counter() + 4 * WORK
    while perf_counter() < until:
        pass
    begun = perf_counter()
    pace()
    assert perf_counter() - begun >= REST


def test_the_event_loop_takes_no_long_work() -> None:
    go_on()
    with pytest.raises(TakesLong):
        not_here()
