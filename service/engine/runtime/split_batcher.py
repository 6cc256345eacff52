"""Two batchers for one version: one in the event loop for what was measured to be short there, one
in a thread for inputs that are larger.
"""

import asyncio
from typing import Protocol

from service.core.extent import Extent
from service.core.ledger import Mark
from service.core.requests import Terms
from service.core.tensors import Arrays
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.replies import Reply


class Batcher(Protocol):
    """What takes the requests of one version; see ``DynamicBatcher``."""

    @property
    def free_marks(self) -> list[Mark]:
        """The marks that no thread uses."""

    @property
    def waiting(self) -> int:
        """Requests in the queue."""

    @property
    def in_flight(self) -> int:
        """Requests that were taken and not yet answered."""

    @property
    def busy(self) -> int:
        """Instances at work."""

    @property
    def instances(self) -> int:
        """Instances that can run batches side by side."""

    def submit(
        self,
        arrays: Arrays,
        rows: int,
        terms: Terms,
        reply: Reply,
        *,
        alone: bool = False,
    ) -> None:
        """Queue a request that fits the signature; the reply gets its outputs."""

    def withdraw(self) -> None:
        """Remove requests whose reply was cancelled."""

    async def drain(self) -> None:
        """Wait until every request that was taken has been answered."""

    def close(self, reason: str = "") -> None:
        """Take no more requests, turn away those that wait, and end those that are run."""


class TensorBatcher(Batcher, Protocol):
    """A batcher that also takes parts of requests that were admitted elsewhere."""

    def submit(
        self,
        arrays: Arrays,
        rows: int,
        terms: Terms,
        reply: Reply,
        *,
        alone: bool = False,
        admitted: bool = False,
    ) -> None:
        """Queue a request that fits the signature; see ``DynamicBatcher.submit``."""


class SplitBatcher:
    """Requests within ``extent`` go to ``inline``, larger ones to ``threaded``.

    Each has a queue of its own, so that a large request holds up no small one. They run the same
    session, which counts as one instance.
    """

    def __init__(self, inline: DynamicBatcher, threaded: DynamicBatcher, extent: Extent) -> None:
        self._inline, self._threaded, self._extent = inline, threaded, extent
        self._both = (inline, threaded)
        self.instances = inline.instances

    @property
    def free_marks(self) -> list[Mark]:
        """The marks that no thread uses."""
        return [mark for each in self._both for mark in each.free_marks]

    @property
    def waiting(self) -> int:
        """Requests in both queues."""
        return sum(each.waiting for each in self._both)

    @property
    def in_flight(self) -> int:
        """Requests that were taken and not yet answered."""
        return sum(each.in_flight for each in self._both)

    @property
    def busy(self) -> int:
        """1 while either is at work."""
        return max(each.busy for each in self._both)

    def submit(
        self,
        arrays: Arrays,
        rows: int,
        terms: Terms,
        reply: Reply,
        *,
        alone: bool = False,
        admitted: bool = False,
    ) -> None:
        """Queue a request; see ``DynamicBatcher.submit``."""
        chosen = self._inline if self._extent.holds(arrays) else self._threaded
        chosen.submit(arrays, rows, terms, reply, alone=alone, admitted=admitted)

    def withdraw(self) -> None:
        """Remove requests whose reply was cancelled."""
        for each in self._both:
            each.withdraw()

    async def drain(self) -> None:
        """Wait until every request that was taken has been answered."""
        await asyncio.gather(*(each.drain() for each in self._both))

    def close(self, reason: str = "") -> None:
        """Take no more requests; see ``DynamicBatcher.close``."""
        for each in self._both:
            each.close(reason)
