"""Events as values. Metrics, statistics and logs observe them; the code that emits an event depends
on none of its observers.

Times are seconds. (Named tuples: see ``service.core.requests``.)
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from service.core.lifecycle import State


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    INVALID = "invalid"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RequestCompleted(NamedTuple):
    """A request has ended. ``version`` is 0 if the request did not reach a version; ``rows`` counts
    the rows that were answered.
    """

    model: str
    version: int
    protocol: str
    outcome: Outcome
    seconds: float
    request_id: str = ""
    error: str = ""
    rows: int = 0


class Timing(NamedTuple):
    """The time of a batch by phase: joining the rows, running the graph, splitting the outputs.

    ``padding`` is the share of the input elements that are padding; ``runs`` counts runs of the
    graph: more than one if a failed batch was tried again one request at a time.
    """

    assemble: float
    compute: float
    split: float
    padding: float
    runs: int = 1

    @property
    def total(self) -> float:
        """The time for which the instance was busy."""
        return self.assemble + self.compute + self.split


class BatchExecuted(NamedTuple):
    """An instance ran one batch; ``queued`` holds one waiting time for each of its requests,
    ``entries`` the requests as entries of the batch queue.
    """

    model: str
    version: int
    rows: int
    queued: tuple[float, ...]
    timing: Timing
    failed: int
    entries: Sequence[Any] = ()


class TokensGenerated(NamedTuple):
    """A step of a language model ended. ``read`` counts the prompt tokens that the step
    read, ``reused`` the prompt tokens that were copied instead, ``chosen`` its new tokens.

    ``queued`` are the waiting times of the requests whose prompt was begun, ``first`` the times
    from a request's arrival to its first token, ``between`` the times from one token to the next.
    """

    model: str
    version: int
    read: int
    reused: int
    chosen: int
    queued: tuple[float, ...]
    first: tuple[float, ...]
    between: tuple[float, ...]


class TextAnswered(NamedTuple):
    """A request to a language model has ended; emitted only where requests are traced.

    ``context`` are the trace headers of the client. Times are those of ``perf_counter``:
    ``admitted`` is when the prompts were queued, 0 for never; ``pieces`` has, for each answer, the
    time of each of its pieces and the number of tokens so far.
    """

    model: str
    version: int
    protocol: str
    id: str
    outcome: Outcome
    error: str
    context: Mapping[str, str]
    started: float
    admitted: float
    ended: float
    prompts: tuple[int, ...]
    pieces: tuple[tuple[tuple[float, int], ...], ...]


class RequestDropped(NamedTuple):
    """A request left the queue without being run: it expired or was cancelled."""

    model: str
    version: int
    outcome: Outcome
    queued: float


class CacheLookup(NamedTuple):
    """A request was looked up in the response cache of its version."""

    model: str
    version: int
    hit: bool
    seconds: float


class ImagesDecoded(NamedTuple):
    """The images of a request were decoded for a version's input; ``seconds`` is the sum over all
    images."""

    model: str
    version: int
    images: int
    seconds: float


class StateChanged(NamedTuple):
    """A version moved to another state."""

    model: str
    version: int
    state: State
    reason: str


class ThreadLost(NamedTuple):
    """A thread did not return after its run was told to stop. ``back``: the thread has returned
    now."""

    model: str
    version: int
    back: bool = False


class Verb(StrEnum):
    """The changes that an operator may make."""

    LOAD = "load"
    UNLOAD = "unload"
    UPLOAD = "upload"
    SWAP = "swap"
    ROLLBACK = "rollback"


class Actor(NamedTuple):
    """The origin of a change. ``name`` is ``key`` and the first digits of its hash, or
    ``loopback``."""

    name: str
    address: str
    request_id: str


class ChangeCompleted(NamedTuple):
    """A change that an operator asked for was made, refused or abandoned.

    ``before`` and ``after`` are the versions before and after the change, None if there is none;
    ``note`` is a remark on a change that was made.
    """

    actor: Actor
    verb: Verb
    model: str
    before: int | None
    after: int | None
    forced: bool
    outcome: Outcome
    seconds: float
    error: str = ""
    note: str = ""


class AccessRefused(NamedTuple):
    """A change was refused for lack of a valid key."""

    actor: Actor
    method: str
    path: str
    error: str


class PhaseStatus(StrEnum):
    """The status of a phase of a rollout."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class SwapPhase(NamedTuple):
    """A version began or ended a phase of its rollout. ``detail`` is for people."""

    model: str
    version: int
    phase: str
    status: PhaseStatus
    seconds: float = 0.0
    detail: str = ""


class Swapped(NamedTuple):
    """Another version serves from now on. ``old`` is 0 if no version served before; ``forced``
    names the checks that the new version failed."""

    model: str
    old: int
    new: int
    cause: str
    forced: str = ""


class Polled(NamedTuple):
    """Poll mode has read the models folder; ``error`` is the reason if that failed."""

    error: str = ""


Event = (
    RequestCompleted
    | BatchExecuted
    | RequestDropped
    | TokensGenerated
    | TextAnswered
    | CacheLookup
    | ImagesDecoded
    | StateChanged
    | ThreadLost
    | SwapPhase
    | Swapped
    | ChangeCompleted
    | AccessRefused
    | Polled
)
TRAFFIC = frozenset(
    {
        RequestCompleted,
        BatchExecuted,
        RequestDropped,
        TextAnswered,
        TokensGenerated,
        CacheLookup,
        ImagesDecoded,
    }
)
Observer = Callable[[Event], None]

_log = logging.getLogger(__name__)


class Observers:
    """Several observers as one. An exception of an observer is logged and does not affect the
    others.

    ``of_traffic`` receive requests and batches, thousands a second; ``of_changes`` receive all
    other events, which are rare.
    """

    def __init__(self, of_traffic: Sequence[Observer], of_changes: Sequence[Observer]) -> None:
        self._of_traffic = tuple(of_traffic)
        self._of_changes = tuple(of_changes)

    def __call__(self, event: Event) -> None:
        for observer in self._of_traffic if type(event) in TRAFFIC else self._of_changes:
            try:
                observer(event)
            except Exception:
                _log.exception("an observer failed on %s", type(event).__name__)
