"""How long a test waits for what must come: a bound for what hangs, on the slowest machine."""

import time
from collections.abc import Callable

PATIENCE = 180.0
"""Seconds; far more than anything takes, however busy the machine."""
PAUSE = 0.01


def until(true: Callable[[], object], what: str = "it did not come") -> None:
    """Ask again and again until the answer is yes.

    Raises:
        AssertionError: it was not, in all the time.
    """
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what} within {PATIENCE:.0f} s"
        time.sleep(PAUSE)
