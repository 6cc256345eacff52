"""The state of one inference request, and periodic checks for timeouts."""

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from service.api.transport.target import Target
from service.core.events import Outcome
from service.core.memory_budget import Reservation
from service.core.requests import InferRequest
from service.core.tensors import Signature
from service.engine.repository.version import ModelVersion

if TYPE_CHECKING:
    from service.core.images import ImageSettings, Placement

_log = logging.getLogger(__name__)
LOOK_EVERY = 0.05
"""Seconds between two checks of the open requests."""


class Admitted(NamedTuple):
    """The parts of a queued request that its answer needs.

    The signature is kept because the version may be unloaded before that.
    """

    request: InferRequest
    version: ModelVersion
    signature: Signature

    def rows(self) -> int:
        """Return the number of rows of the request; 1 if the model has no rows."""
        given, wanted = self.request.inputs, self.signature.inputs
        if self.signature.batchable and len(given) == len(wanted):  # nearly always
            return len(given[0].array)
        if not self.signature.has_rows:
            return 1
        if len(given) != len(wanted):  # the request overrides default inputs, which have no rows
            names = {spec.name for spec in wanted}
            given = tuple([each for each in given if each.name in names])
        if self.signature.batchable:
            return len(given[0].array)
        return self.signature.common_rows(tuple([each.array for each in given])) or 1


class Pictured(NamedTuple):
    """The images of a request: the model's settings, and the place of each image in its row."""

    settings: "ImageSettings"
    placements: "tuple[Placement, ...]"


class Exchange:
    """A request and its result. The fields are set while the request is processed.

    Initial values are class attributes: this makes instances, one for each request, cheaper.
    """

    version: ModelVersion | None = None
    admitted: Admitted | None = None
    outcome = Outcome.OK
    error = ""
    held: Reservation | None = None
    pictured: Pictured | None = None
    weight = weighed = 0
    in_regions = 0
    """Bytes that were reserved for inputs in shared memory."""

    def __init__(self, target: Target, request_id: bytes) -> None:
        self.started = perf_counter()
        self.target = target
        self.request_id = request_id


class Watched(Protocol):
    """Something that may take too long."""

    def look(self, now: float) -> None:
        """Check for timeouts; ``now`` is the time of ``perf_counter``."""


class LookOut:
    """Periodic checks of everything that may take too long. A timer for each request would cost
    more than most requests.
    """

    def __init__(self) -> None:
        # All mutable state: the watched objects, and the timer while there are any.
        self._open: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def open(self, watched: Watched) -> None:
        """Begin to check ``watched``."""
        self._open.add(watched)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LOOK_EVERY, self._look, loop)

    def close(self, watched: Watched) -> None:
        """Stop checking ``watched``."""
        self._open.discard(watched)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = perf_counter()
        for watched in list(self._open):
            try:
                watched.look(now)
            except Exception as error:
                # The others are still checked.
                self._open.discard(watched)
                _log.error("a timeout check failed: %s: %s", type(error).__name__, error)
        self._timer = loop.call_later(LOOK_EVERY, self._look, loop) if self._open else None
