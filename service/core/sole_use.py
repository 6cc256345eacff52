"""Finds whether one model has been the only one in use for some time. Pure.

A model is in use when a request for it arrives, and while it runs in a thread.
"""

from collections.abc import Callable
from math import inf
from time import monotonic

SOLE_AFTER = 1.0
"""Seconds without use of another model after which a model counts as the only one in use."""


class SoleUse:
    """Records which model is in use. ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # All mutable state: the model that was used last, and the time since which it has been the
        # only one; and the models that run in threads.
        self._latest = ""
        self._since = inf
        self._running: set[str] = set()

    def note(self, model: str) -> None:
        """Record a request for a model."""
        if model != self._latest:
            self._latest, self._since = model, self._clock()

    def begin(self, model: str) -> None:
        """Record that a model has begun to run in a thread."""
        self.note(model)
        self._running.add(model)

    def end(self, model: str) -> None:
        """Record that all runs of a model in threads have ended."""
        self.note(model)
        self._running.discard(model)

    def is_sole(self, model: str) -> bool:
        """Return whether a model has been the only one in use for at least ``SOLE_AFTER``."""
        if model != self._latest or not self._running <= {model}:
            return False
        return self._clock() - self._since >= SOLE_AFTER
