"""A control that ends runs, for models that are functions."""

import threading


class Heeded:
    """A control that a thread can wait for."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    @property
    def terminate(self) -> bool:
        """True if the run must end."""
        return self.ended.is_set()

    @terminate.setter
    def terminate(self, _: bool) -> None:
        self.ended.set()
