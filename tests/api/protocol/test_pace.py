"""Long work pauses regularly, and is refused in the event loop."""

from time import perf_counter

import pytest

from service.api.protocol.pace import REST, WORK, Pace, TakesLong, go_on, not_here


def test_long_work_pauses_after_work_and_not_before() -> None:
    pace = Pace()
    until = perf_counter() + 4 * WORK
    while perf_counter() < until:
        pass
    begun = perf_counter()
    pace()
    assert perf_counter() - begun >= REST


def test_long_work_is_refused_in_the_event_loop() -> None:
    go_on()
    with pytest.raises(TakesLong):
        not_here()
