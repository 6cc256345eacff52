"""The time that a test waits for an expected event: a limit for hangs, on the slowest machine."""

import time
from collections.abc import Callable

PATIENCE = 180.0
"""Seconds; far more than anything takes, however busy the machine."""
PAUSE = 0.01


def until(true: Callable[[], object], what: str = "it did not come") -> None:
    """Repeat a call until it returns a true value.

    Raises:
        AssertionError: it did not within PATIENCE.
    """
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what} within {PATIENCE:.0f} s"
        time.sleep(PAUSE)
