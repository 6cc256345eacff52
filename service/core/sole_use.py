"""Finds whether one model has been the only one in use for some time. Pure."""

from collections.abc import Callable
from math import inf
from time import monotonic

SOLE_AFTER = 1.0
"""Seconds without a request for another model after which a model counts as the only one in use."""


class SoleUse:
    """Records which model is in use. ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # All mutable state: the model of the latest request, and since when it has been the same.
        self._latest = ""
        self._since = inf

    def note(self, model: str) -> None:
        """Record a request for a model."""
        if model != self._latest:
            self._latest, self._since = model, self._clock()

    def is_sole(self, model: str) -> bool:
        """Return whether a model has been the only one in use for at least ``SOLE_AFTER``."""
        return model == self._latest and self._clock() - self._since >= SOLE_AFTER
