"""The times at which a run is stopped and given up."""

import pytest

from service.core.run_limits import Move, RunLimits, judge

LIMITS = RunLimits(timeout=10.0, grace=5.0)


@pytest.mark.parametrize(
    ("started", "stopped", "now", "move", "again"),
    [
        (None, None, 100.0, Move.WAIT, 110.0),  # it waits for its thread
        (90.0, None, 99.9, Move.WAIT, 100.0),
        (90.0, None, 100.0, Move.STOP, 105.0),
        (90.0, 100.0, 104.9, Move.WAIT, 105.0),
        (90.0, 100.0, 105.0, Move.GIVE_UP, 105.0),
        (99.0, 100.0, 101.0, Move.WAIT, 105.0),  # told to stop before its time was over
    ],
)
def test_judge_decides_to_wait_stop_or_give_up(
    started: float | None, stopped: float | None, now: float, move: Move, again: float
) -> None:
    assert judge(started, stopped, now, LIMITS) == (move, again)
