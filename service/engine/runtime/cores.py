"""The cores of the process, shared by the batchers of all models. On the event loop only."""

from collections.abc import Callable
from typing import NamedTuple, Protocol
from weakref import WeakMethod

from service.core.fair_share import Claimant, FairShare
from service.core.sole_use import SoleUse


class OtherWorkers(Protocol):
    """The other workers of this server, as far as lone runs depend on them."""

    @property
    def idle(self) -> bool:
        """True if none of them runs a model in a thread."""

    def set_busy(self, *, busy: bool) -> None:
        """Publish whether this process runs a model in a thread."""


class Cores:
    """Decides when batchers may begin runs in threads, by their weights. ``others`` is None if
    there is one worker. ``use`` records which models are in use."""

    def __init__(self, cores: int, others: OtherWorkers | None = None) -> None:
        self._share = FairShare(cores)
        self._others = others
        self.use = SoleUse()

    def seat(self, model: str, weight: float, threads: int, wake: Callable[[], None]) -> "Seat":
        """Create the seat of a batcher of a model. ``wake``, a method, is called when a run that
        had to wait may begin."""
        method = WeakMethod(wake)  # a reference cycle would live until a garbage collection

        def call() -> None:
            if found := method():
                found()

        return Seat(self._share, Claimant(weight, threads, call), self._others, model, self.use)


class Seat:
    """The access of one batcher to the cores; see ``FairShare`` for the calls."""

    def __init__(
        self,
        share: FairShare,
        claimant: Claimant,
        others: OtherWorkers | None,
        model: str,
        use: SoleUse,
    ) -> None:
        self._share, self._claimant, self._others = share, claimant, others
        self._model, self._use = model, use

    @property
    def all_free(self) -> bool:
        """True if no run of any model is in progress, in any worker."""
        return self._share.all_free and (self._others is None or self._others.idle)

    def ask(self) -> bool:
        """Return True if a run may begin now. If not, ``wake`` is called when it may."""
        return self._share.ask(self._claimant)

    def begin(self) -> None:
        """Record that a run begins."""
        if self._others is not None and self._share.all_free:
            self._others.set_busy(busy=True)
        self._share.begin(self._claimant)
        self._use.begin(self._model)
        self.wake_next()

    def end(self, seconds: float, more: bool) -> None:
        """Record that a run has ended after ``seconds``; with ``more``, further requests wait."""
        self._share.end(self._claimant, seconds, more)
        if not self._claimant.running:
            self._use.end(self._model)
        if self._others is not None and self._share.all_free:
            self._others.set_busy(busy=False)
        self.wake_next()

    def rest(self) -> None:
        """Record that the batcher has no run to begin."""
        if self._claimant.place is not None:
            self._share.rest(self._claimant)
            self.wake_next()

    def wake_next(self) -> None:
        """Wake the next batcher, if a core is free."""
        if (found := self._share.next()) is not None:
            found.wake()


class Share(NamedTuple):
    """A batcher's share of the cores: its weight, and the threads of one run."""

    cores: Cores
    weight: float = 1.0
    threads: int = 1
