"""Wires the parts of a server that are shared with other workers."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.api.dataplane.asgi import App
from service.api.transport.arrival import Limits
from service.config.settings import Settings
from service.core.events import Event, Observer, Swapped, SwapPhase
from service.core.statistics import Statistics
from service.engine.repository.context import Context
from service.metrics.page import Metrics
from service.workers.forwarding import Admits, Forwarding, Unanswered, counting
from service.workers.handover import Create, Handover
from service.workers.member import Member
from service.workers.own_worker import OwnWorker
from service.workers.pages import SharedMetrics
from service.workers.received import AnswerMessage, Received
from service.workers.repository import REGIONS, SharedRepository
from service.workers.tasks import Tasks

if TYPE_CHECKING:
    from service.engine.host.shared_memory import Regions

LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Fleet:
    """The interface of a server to the other workers."""

    member: Member
    repository: SharedRepository
    others: Mapping[str, OwnWorker]
    """The dedicated workers to which this worker forwards requests, by model."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        context: Context,
        member: Member,
        regions: "Regions | None" = None,
    ) -> "Fleet":
        """Build it for a server with these settings; ``regions`` is the shared memory of its
        clients."""
        repository = SharedRepository(
            settings.models,
            context,
            member,
            name=settings.name,
            allow_empty=settings.allow_empty,
            regions=regions,
        )
        seat = member.seat
        own = seat.own.items() if seat.shares_port else ()
        return cls(member, repository, {name: OwnWorker(seat, n, name) for name, n in own})

    @property
    def late(self) -> bool:
        """True if this worker accepts connections only when it is ready."""
        return self.member.seat.late

    async def start(self, metrics: SharedMetrics, stop: Callable[[], None]) -> None:
        """Connect to the supervisor and start to take part in changes. ``stop``: see ``Member``."""
        carry_out, standing = self.repository.carry_out, self.repository.standing
        await self.member.start(carry_out, standing, metrics.page, stop)

    async def ready(self) -> None:
        """Wait until the required number of workers have been ready."""
        while not self.member.seat.board.ready:
            await asyncio.sleep(LOOK_SECONDS)

    async def set_level(self, level: int) -> None:
        """Set the log level of all workers."""
        await self.member.propose("", "log level", {"level": level})

    async def change_regions(self, change: Mapping[str, Any]) -> None:
        """Register shared memory in all workers, or unregister it."""
        await self.member.propose(REGIONS, "regions", change)

    def metrics(self, own: Metrics, counted: Statistics) -> SharedMetrics:
        """Return the metrics of all workers."""
        return SharedMetrics(own, counted, self.member)

    @property
    def shares_port(self) -> bool:
        """True if clients connect to this worker."""
        return self.member.seat.shares_port

    def front(
        self,
        app: App,
        limits: Limits,
        admits: Admits,
        unanswered: Unanswered,
        answer_message: AnswerMessage | None,
    ) -> App:
        """Return the application that receives the requests of this worker: ``app``, behind the
        forwarding to or from dedicated workers."""
        if not self.shares_port:
            return Received(app, answer_message)
        if not self.others:
            return app
        tasks = Tasks(self.repository, self.others)
        return Forwarding(app, self.others, tasks, limits, admits, unanswered)

    def forward(self, unanswered: Unanswered) -> Mapping[str, App]:
        """Return the ASGI application that forwards requests to each dedicated worker, by model."""
        return {name: counting(each.answer, unanswered) for name, each in self.others.items()}

    def handover(self, create: Create) -> Handover:
        """Create the handover, which balances connections among workers."""
        return Handover(self.member.seat, create)


def counted_once(member: Member, observe: Observer) -> Observer:
    """Wrap an observer so that only one worker notifies it of a change of all workers."""

    def told(event: Event) -> None:
        if type(event) in (Swapped, SwapPhase) and not _counts(member, event.model):  # type: ignore[union-attr]
            return
        observe(event)

    return told


def _counts(member: Member, model: str) -> bool:
    if member.joined:
        return model not in member.following
    return not member.seat.before and not member.seat.again
