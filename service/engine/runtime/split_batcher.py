"""Two batchers for one version: one in the event loop for inputs whose run was measured to be
short, and one in a thread for larger inputs.
"""

import asyncio
from typing import Protocol

from service.core.extent import Extent
from service.core.ledger import Mark
from service.core.requests import Terms
from service.core.sole_use import SoleUse
from service.core.tensors import Arrays
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.replies import Reply


class Batcher(Protocol):
    """Runs the requests of one version; see ``DynamicBatcher``."""

    @property
    def free_marks(self) -> list[Mark]:
        """The marks that no thread uses."""

    @property
    def waiting(self) -> int:
        """The number of requests in the queue."""

    @property
    def in_flight(self) -> int:
        """The number of admitted requests without an answer."""

    @property
    def busy(self) -> int:
        """The number of instances that are running."""

    @property
    def instances(self) -> int:
        """The number of instances that can run batches concurrently."""

    def submit(
        self,
        arrays: Arrays,
        rows: int,
        terms: Terms,
        reply: Reply,
        *,
        alone: bool = False,
    ) -> None:
        """Queue a request that fits the signature; the reply receives its outputs."""

    def withdraw(self) -> None:
        """Remove requests whose reply was cancelled."""

    async def drain(self) -> None:
        """Wait until all admitted requests are answered."""

    def close(self, reason: str = "") -> None:
        """Refuse new requests, reject the waiting ones, and end the running ones."""


class TensorBatcher(Batcher, Protocol):
    """A batcher that also accepts requests that were admitted before."""

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
    """Passes requests within ``extent`` to ``inline``, larger ones to ``threaded``.

    With ``if_sole``, requests are passed to ``inline`` only while ``use`` shows that no model but
    ``model`` is in use. Each batcher has its own queue, so that a large request does not delay
    small ones. Both run the same session, which counts as one instance.
    """

    def __init__(
        self,
        inline: DynamicBatcher,
        threaded: DynamicBatcher,
        extent: Extent,
        model: str,
        use: SoleUse,
        *,
        if_sole: bool = False,
    ) -> None:
        self._inline, self._threaded, self._extent = inline, threaded, extent
        self._both = (inline, threaded)
        self._model, self._use, self._if_sole = model, use, if_sole
        self.instances = inline.instances

    @property
    def free_marks(self) -> list[Mark]:
        """The marks that no thread uses."""
        return [mark for each in self._both for mark in each.free_marks]

    @property
    def waiting(self) -> int:
        """The number of requests in both queues."""
        return sum(each.waiting for each in self._both)

    @property
    def in_flight(self) -> int:
        """The number of admitted requests without an answer."""
        return sum(each.in_flight for each in self._both)

    @property
    def busy(self) -> int:
        """1 while either batcher is running."""
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
        self._use.note(self._model)
        inline = self._extent.holds(arrays)
        if inline and self._if_sole:
            inline = self._use.is_sole(self._model)
        chosen = self._inline if inline else self._threaded
        chosen.submit(arrays, rows, terms, reply, alone=alone, admitted=admitted)

    def withdraw(self) -> None:
        """Remove requests whose reply was cancelled."""
        for each in self._both:
            each.withdraw()

    async def drain(self) -> None:
        """Wait until all admitted requests are answered."""
        await asyncio.gather(*(each.drain() for each in self._both))

    def close(self, reason: str = "") -> None:
        """Refuse new requests; see ``DynamicBatcher.close``."""
        for each in self._both:
            each.close(reason)
