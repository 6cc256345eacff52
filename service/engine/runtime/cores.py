"""The cores of the process, shared by the batchers of all models. On the event loop only."""

from collections.abc import Callable
from typing import NamedTuple, Protocol
from weakref import WeakMethod

from service.core.fair_share import Claimant, FairShare


class OtherWorkers(Protocol):
    """The other processes that run models on this machine, as the process sees them."""

    @property
    def idle(self) -> bool:
        """Whether no run is under way in any of them."""

    def set_busy(self, *, busy: bool) -> None:
        """Tell them whether a run is under way in this process."""


class Cores:
    """Lets batchers begin runs in threads by their weights. ``others`` are None for the only
    process."""

    def __init__(self, cores: int, others: OtherWorkers | None = None) -> None:
        self._share = FairShare(cores)
        self._others = others

    def seat(self, weight: float, threads: int, wake: Callable[[], None]) -> "Seat":
        """A batcher's seat. ``wake``, a method, is called when a run may begin that could not."""
        method = WeakMethod(wake)  # what holds each other lives until a collection

        def call() -> None:
            if found := method():
                found()

        return Seat(self._share, Claimant(weight, threads, call), self._others)


class Seat:
    """What one batcher may run; see ``FairShare`` for the calls."""

    def __init__(self, share: FairShare, claimant: Claimant, others: OtherWorkers | None) -> None:
        self._share, self._claimant, self._others = share, claimant, others

    @property
    def all_free(self) -> bool:
        """Whether no run is under way, of any model, in any worker."""
        return self._share.all_free and (self._others is None or self._others.idle)

    def ask(self) -> bool:
        """Whether a run may begin now. If not, the batcher is woken once it may."""
        return self._share.ask(self._claimant)

    def begin(self) -> None:
        """A run begins."""
        if self._others is not None and self._share.all_free:
            self._others.set_busy(busy=True)
        self._share.begin(self._claimant)
        self.wake_next()

    def end(self, seconds: float, more: bool) -> None:
        """A run has ended after so many seconds; with ``more``, requests wait for the next."""
        self._share.end(self._claimant, seconds, more)
        if self._others is not None and self._share.all_free:
            self._others.set_busy(busy=False)
        self.wake_next()

    def rest(self) -> None:
        """There is nothing to begin."""
        if self._claimant.place is not None:
            self._share.rest(self._claimant)
            self.wake_next()

    def wake_next(self) -> None:
        """Wake the batcher whose turn it is, if a core is free."""
        if (found := self._share.next()) is not None:
            found.wake()


class Share(NamedTuple):
    """Of which cores a batcher has a share, how large it is, and the threads of one run."""

    cores: Cores
    weight: float = 1.0
    threads: int = 1
