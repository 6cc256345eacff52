"""What a process gives to every rollout, and its agreement with other processes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from service.core.errors import QuantserveError
from service.core.events import Observer
from service.core.ledger import Ledger, Work
from service.core.lone import LoneCores
from service.core.run_limits import DEFAULT_TIMEOUTS, Timeouts
from service.engine.loading.turns import Turns
from service.engine.runtime.cores import Cores


class Ballot(Protocol):
    """The agreement with other processes that carry out the same change.

    ``leads`` is True in the one process that writes the shared files. It may become True when
    another process ends.
    """

    @property
    def leads(self) -> bool:
        """True if this process writes the shared files."""

    async def agree(self, model: str, version: int) -> None:
        """Wait until all processes are ready to switch to a version.

        Raises:
            GateFailed: a process cannot switch, with its reason.
        """

    def refuse(self, version: int, error: QuantserveError) -> None:
        """Tell the others that this process cannot switch to a version."""


class Alone:
    """A ``Ballot`` without other processes."""

    leads = True

    async def agree(self, model: str, version: int) -> None:
        """Return at once."""

    def refuse(self, version: int, error: QuantserveError) -> None:
        """Report nothing."""


@dataclass(frozen=True, slots=True)
class Context:
    """The resources and settings of the process for every rollout: the number of cores, the
    observer, a memory budget in bytes (0: none), seconds for draining, and whether custom operators
    that a model.toml names may be loaded.

    ``ledger`` records the versions at work. ``blamed`` maps versions that crashed earlier servers
    to the reason. ``try_again`` is called with such a version when an operator asks to serve it
    again. ``rehearse``: a version that arrives after the start is first tried in a separate
    process. ``timeouts`` limit runs and loads, ``turns`` the number of concurrent loads.
    ``no_pin``: write no choice of a version to disk. ``ballot`` is the agreement with other
    processes. ``promised`` returns the bytes by which the caches of the loaded versions may grow.
    ``shared_cores`` schedules the runs of several models by their weights. ``lone_cores`` are those
    of a lone run, None for ``cores``. ``tuned``: run versions
    with the settings that ``quantserve tune`` chose.
    """

    cores: int
    observe: Observer
    memory_budget: int = 0
    drain_timeout: float = 30.0
    allow_custom_ops: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    blamed: Mapping[Work, str] = field(default_factory=dict)
    try_again: Callable[[Work], None] = lambda _: None
    rehearse: bool = False
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    turns: Turns = field(default_factory=Turns)
    no_pin: bool = False
    ballot: Ballot = field(default_factory=Alone)
    promised: Callable[[], int] = lambda: 0
    shared_cores: Cores | None = None
    lone_cores: LoneCores | None = None
    tuned: bool = True
