"""The composition root, where all parts are built and wired."""

import asyncio
import logging
from collections.abc import Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from service.api.application import control_plane
from service.api.auth.audit import Audit
from service.api.auth.middleware import Guard, lets_predict
from service.api.auth.policy import Access, Keys
from service.api.control.admin import admin
from service.api.control.event_stream import Watchers, watching
from service.api.control.repository_verbs import repository_verbs
from service.api.control.shared_memory import local, shared_memory
from service.api.control.upload import UploadLimits, upload_routes
from service.api.control.versions import versions
from service.api.dataplane.asgi import App, DataPlane, Send
from service.api.dataplane.inference import Inference
from service.api.dataplane.routing import Routing
from service.api.http1.connection import HALF_CLOSE_SECONDS
from service.api.http1.driver import Shared
from service.api.http1.under_uvicorn import protocol_class
from service.api.language.answers import Answers
from service.api.language.generate import generate
from service.api.language.openai import openai
from service.api.openapi.example_answers import ExampleAnswers
from service.api.text.embeddings import embeddings
from service.api.text.tei import tei
from service.api.transport.answers import WRITES
from service.api.transport.arrival import Limits
from service.api.transport.body import Receive
from service.api.transport.traffic import Traffic
from service.config.settings import Settings, read_keys
from service.core.errors import ConfigError
from service.core.events import Event, Observer, Observers
from service.core.exemplars import Exemplars
from service.core.lone import LoneCores
from service.core.memory_plan import MemoryPlan, share_out
from service.core.run_limits import Timeouts
from service.core.statistics import Statistics
from service.engine.host.resources import (
    address_space_left,
    memory_limit,
    resident_bytes,
    usable_cores,
)
from service.engine.loading.turns import AFTER_CRASH_STAGGER, Turns
from service.engine.repository.context import Context
from service.engine.repository.repository import ModelRepository
from service.engine.runtime.cores import Cores
from service.engine.storage.publishing import publish_files
from service.logs import Log, audit_log
from service.metrics.page import Metrics
from service.metrics.versions import PROTOCOLS
from service.optional_parts import (
    counting,
    fleet_of,
    grpc_server,
    member_of,
    message_answerer,
    shared_regions,
    tracer,
)
from service.start import Start
from service.supervised import Seat, Supervised

LAST_SECONDS = 0.5
"""Seconds to end the runs that are still in progress after the shutdown timeout."""
FILE_THREADS = 8
"""Threads that read and write the models folder. Each load of a version has its own thread, which
may never return; requests use other threads."""

if TYPE_CHECKING:
    from service.engine.host.shared_memory import Regions

_log = logging.getLogger("quantserve")


class Server:
    """The ASGI application: loads models when it starts, drains them when it stops."""

    def __init__(
        self,
        settings: Settings,
        announce: Callable[[ModelRepository], None],
        parent: Supervised | None = None,
    ) -> None:
        parent = parent or Supervised()
        statistics = Statistics(time)
        self._by_grpc = settings.grpc_port is not None
        self._watchers = Watchers()
        log = Log(settings.access_log)
        exemplars = Exemplars()
        self._tracing = tracer(exemplars) if settings.tracing else None
        traced = [self._tracing.__call__] if self._tracing else []
        member = member_of(parent)
        changed = (counting(member, statistics), self._watchers, log, audit_log)
        # The bound methods: in Python 3.11, calling an object takes three times as long.
        told: tuple[Observer, ...] = (statistics.__call__, log.__call__, *traced)
        observe = Observers(told, changed).__call__
        plan = _memory_plan(settings)
        self._traffic = traffic = Traffic(plan.traffic, address_space_left)
        cores = settings.cores or usable_cores()
        context = Context(
            cores,
            observe,
            plan.models,
            settings.shutdown_timeout,
            settings.allow_custom_ops,
            parent.ledger,
            parent.crashes.reasons,
            member.try_again if member else parent.try_again,
            rehearse=True,
            timeouts=Timeouts(settings.run_timeout, settings.load_timeout),
            turns=Turns(AFTER_CRASH_STAGGER) if parent.crashes.total else Turns(),
            no_pin=settings.no_pin,
            shared_cores=Cores(cores, parent.seat),
            lone_cores=_lone_cores(parent.seat, cores),
            tuned=not settings.no_tune,
        )
        regions = shared_regions(settings)
        self._fleet = fleet_of(settings, context, member, regions)
        self.repository = (
            self._fleet.repository
            if self._fleet
            else ModelRepository(
                settings.models, context, name=settings.name, allow_empty=settings.allow_empty
            )
        )
        access = access_of(settings)
        metrics = Metrics(
            statistics,
            self.repository,
            exemplars,
            parent.crashes,
            plan,
            traffic.counts,
            settings.poll,
            (*PROTOCOLS, "grpc") if self._by_grpc else PROTOCOLS,
        )
        self._shared = self._fleet.metrics(metrics, statistics) if self._fleet else None
        counted = self._shared.statistics if self._shared else statistics.now
        changes = _changes(settings, self.repository, traffic, Audit(observe))
        limits = Limits(settings.max_body_bytes, settings.body_timeout, traffic)
        asked = Answers(self.repository, limits, observe, traced=settings.tracing)
        reports = [versions(self.repository, counted), watching(self.repository, self._watchers)]
        self._inference = inference = self._inference_of(settings, observe, regions)
        # For the documentation, whose requests are not counted as traffic.
        unseen = Inference(self.repository, settings, _unseen, traffic, inference.elsewhere)
        control = control_plane(
            self.repository,
            ExampleAnswers(unseen),
            counted,
            self._shared.render if self._shared else metrics.render,
            logging.getLogger(),
            self._fleet.set_level if self._fleet else set_level,
            Guard.of(access, observe),
            [openai(asked), generate(asked), embeddings(asked), tei(asked)],
            reports,
            changes,
            shared_memory(regions, self._fleet.change_regions if self._fleet else local(regions)),
        )
        admits = partial(lets_predict, access)
        self._plane: App = DataPlane(control, inference, access)
        if fleet := self._fleet:
            by_message = message_answerer(inference) if self._by_grpc else None
            unanswered = inference.left_unanswered
            self._plane = fleet.front(self._plane, limits, admits, unanswered, by_message)
        clients_connect = fleet is None or fleet.shares_port
        self._grpc = None
        if self._by_grpc and clients_connect:
            forward = fleet.forward(inference.left_unanswered) if fleet else {}
            self._grpc = grpc_server(settings, inference, self._plane, access, forward)
        self.grpc_port = 0
        """The port for gRPC, once it is open."""
        routing = Routing(inference, admits, self._plane, fleet.others if fleet else ())
        # Other workers close a connection when their client has disconnected.
        half_close = HALF_CLOSE_SECONDS if clients_connect else 0.0
        direct = protocol_class(routing.route, Shared(traffic), settings.body_timeout, half_close)
        self.handover = self._fleet.handover(direct) if self._fleet else None
        self.protocol: Callable[..., asyncio.Protocol]
        self.protocol = self.handover.protocol if self.handover else direct
        """Creates the protocol of a connection; passed to uvicorn."""
        self._start = Start(
            settings, self.repository, control, fleet, parent.crashes, announce, observe
        )

    def _inference_of(
        self, settings: Settings, observe: Observer, regions: "Regions | None"
    ) -> Inference:
        parts, writes = (self.repository, settings, observe, self._traffic), dict(WRITES)
        if self._by_grpc:
            from service.api.grpc.encoding import responded

            writes["grpc"] = responded
        if self._tracing is None:
            return Inference(*parts, writes=writes, regions=regions)
        from service.tracing.inference import TracedInference

        return TracedInference(*parts, self._tracing, writes, regions)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        # `async`, although it only delegates: servers recognise ASGI 3 by this.
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._plane(scope, receive, send)

    def begin_stop(self) -> None:
        """Fail readiness, send ``Connection: close``, and end what would delay the stop. Requests
        are still answered."""
        self._inference.leaving = True
        self.end_changes()

    def end_changes(self) -> None:
        """End event streams, and cancel swaps that have not switched. Requests are still
        answered."""
        self._watchers.close()
        self.repository.begin_stop()

    async def open_grpc(self) -> None:
        """Listen on the port for gRPC, if it is enabled.

        Raises:
            ConfigError: the port is not available.
        """
        if self._grpc:
            self.grpc_port = await self._grpc.start()

    async def stop_grpc(self) -> None:
        """Wait until the calls over gRPC have ended."""
        if self._grpc:
            await self._grpc.stop()

    def close_grpc(self, seconds: float) -> None:
        """Accept no more calls over gRPC; running calls have ``seconds`` to end."""
        if self._grpc:
            self._grpc.begin_stop(seconds)

    @property
    def unanswered(self) -> int:
        """Number of admitted requests that got an error because the server stopped."""
        return self._inference.unanswered

    async def _live(self, receive: Receive, send: Send) -> None:
        """Handle the lifespan: live at once, ready when every loadable model is loaded and warm."""
        await receive()
        # The loop's default executor, which `asyncio.to_thread` uses and the loop closes.
        files = ThreadPoolExecutor(FILE_THREADS, "files")
        asyncio.get_running_loop().set_default_executor(files)
        if self._fleet and self._shared:
            await self._fleet.start(self._shared, self.end_changes)
        await self._start.begin()
        try:
            await self.open_grpc()
        except ConfigError as error:
            self._start.cancel()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        self._start.listening()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._start.cancel()
        self.begin_stop()
        await self.stop_grpc()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self.repository.stop(drain_timeout=0)
        await self.end_codecs()
        if self._tracing:
            await asyncio.to_thread(self._tracing.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def end_codecs(self) -> None:
        """End the threads and processes that decode and encode long bodies."""
        await asyncio.to_thread(self._inference.elsewhere.close)


async def set_level(level: int) -> None:
    """Set the level of the log."""
    logging.getLogger().setLevel(level)


def _lone_cores(seat: Seat | None, cores: int) -> LoneCores:
    """What a lone run may use: the cores of all workers, where there are several."""
    if seat is None:
        return LoneCores(cores)
    threads = min(seat.machine.threads, cores * seat.board.workers)
    return replace(seat.machine, threads=threads)


def _unseen(event: Event) -> None:
    """Counts nothing."""


def _memory_plan(settings: Settings) -> MemoryPlan:
    """Divide the memory that the settings, the cgroup and the address space allow."""
    base, total = resident_bytes(), settings.memory_budget or memory_limit()
    left = address_space_left()
    return share_out(total if left is None else min(total, base + left), base)


def _changes(
    settings: Settings, repository: ModelRepository, traffic: Traffic, audit: Audit
) -> list[APIRouter]:
    """Return the routes that change which models are served."""

    root = repository.root

    async def publish(name: str, files: Mapping[str, bytes]) -> object:
        await asyncio.to_thread(root.check_new_version, name)
        return await publish_files(root.path, name, files, limit=settings.max_upload_bytes)

    return [
        admin(repository, audit),
        upload_routes(root, UploadLimits(settings.max_upload_bytes, settings.body_timeout), audit),
        repository_verbs(
            repository,
            Limits(settings.max_body_bytes, settings.body_timeout, traffic),
            publish,
            audit,
        ),
    ]


def access_of(settings: Settings) -> Access:
    """Return the keys of the settings, and what each key allows.

    Raises:
        ConfigError: a key is not usable.
    """
    return Access(
        Keys.of(read_keys("QUANTSERVE_ADMIN_KEY", settings.admin_key, settings.admin_key_file)),
        Keys.of(read_keys("QUANTSERVE_API_KEY", settings.api_key, settings.api_key_file)),
    )
