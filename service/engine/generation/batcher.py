"""The batcher of a language model: the counterpart of ``DynamicBatcher``.

Everything here runs on the event loop. Each lane has a thread; the results of a step arrive in one
call for all of its requests.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from service.core.errors import (
    DeadlineExceeded,
    NotReady,
    QuantserveError,
    QueueFull,
    ShuttingDown,
)
from service.core.events import BatchExecuted, Observer, Outcome, RequestDropped, TokensGenerated
from service.core.generation import GenerationRequest, not_tensors
from service.core.ledger import UNNOTED, Mark
from service.core.requests import Terms
from service.core.run_limits import DEFAULT_RUN_LIMITS, RunLimits
from service.core.sole_use import SoleUse
from service.core.tensors import Arrays
from service.core.waiting import WaitEstimate, until_room
from service.engine.generation.answer import Answer
from service.engine.generation.lane import Job, Lane, News, Report, Shared
from service.engine.generation.language_model import LanguageModel
from service.engine.generation.scheduler import Entry
from service.engine.generation.step_watch import StepWatch
from service.engine.generation.stream import Stream
from service.engine.runtime.replies import Reply


class GenerationBatcher:
    """Accepts requests and returns streams. Must be created on the event loop that it serves.

    ``limit`` bounds the requests that wait. ``timeout`` is the longest wait, in seconds, of a
    request that sets no timeout itself. ``new_mark`` returns a mark that records that a thread is
    at work. ``limits`` bound the time of a step. ``on_lost`` is called with True when a thread does
    not return, and with False when it has returned. ``use`` records when the model is in use.
    """

    def __init__(
        self,
        label: tuple[str, int],
        language: LanguageModel,
        observe: Observer,
        *,
        limit: int,
        timeout: float | None = None,
        new_mark: Callable[[], Mark] = lambda: UNNOTED,
        limits: RunLimits = DEFAULT_RUN_LIMITS,
        on_lost: Callable[[bool], None] = lambda _: None,
        use: SoleUse | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._model, self._version = label
        self._use = use or SoleUse()
        self._language = language
        self._observe = observe
        self._timeout = timeout
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._shared = Shared(limit)
        # All state beside that of the lanes: the accepted requests without an answer, as entries of
        # the scheduler by their job; the lanes whose thread is running; the lanes whose thread did
        # not return; and the future that callers of ``drain`` wait for.
        self._entries: dict[Job, Entry[Job]] = {}
        self._lanes = tuple(
            Lane(decoder, self._shared, language.chunk, self._post, new_mark(), clock)
            for decoder in language.decoders
        )
        self._alive = set(self._lanes)
        self._lost: set[Lane] = set()
        self._on_lost = on_lost
        self._watch = StepWatch(label, limits, self._living, self._give_up, clock)
        self._drained: asyncio.Future[None] | None = None
        # The time from one finished answer to the next while requests wait, for Retry-After.
        self._pace = WaitEstimate(len(self._lanes), 1)
        self.instances = len(self._lanes)
        for number, lane in enumerate(self._lanes):
            lane.start(f"{self._model}-{number}")

    @property
    def free_marks(self) -> list[Mark]:
        """The marks of threads that have ended."""
        over = (lane for lane in self._lanes if lane not in self._alive | self._lost)
        return [lane.mark for lane in over]

    @property
    def waiting(self) -> int:
        """Requests that wait for a row."""
        return len(self._shared.waiting)

    @property
    def running(self) -> int:
        """Requests that have a row."""
        return sum(len(lane.scheduler.running) for lane in self._lanes)

    @property
    def in_flight(self) -> int:
        """Requests that were accepted and not yet answered."""
        return len(self._entries)

    @property
    def busy(self) -> int:
        """Lanes at work."""
        return sum(bool(lane.scheduler.running) for lane in self._lanes)

    @property
    def cache_use(self) -> float:
        """The share of the cache that holds tokens."""
        held = sum(lane.scheduler.cached for lane in self._lanes)
        return held / (self._language.slots * self._language.context or 1)

    @property
    def cache_bytes(self) -> int:
        """The bytes of the cache when it is full."""
        return self._language.cache_bytes

    @property
    def cache_held_bytes(self) -> int:
        """The bytes that the cache has taken so far."""
        return self._language.cache_bytes - self._language.promised_bytes

    def generate(self, request: GenerationRequest) -> Stream:
        """Begin an answer.

        Raises:
            InputRejected: see ``LanguageModel.check``.
            QueueFull: too many requests wait.
            ShuttingDown: the batcher is closed.
        """
        language, shared = self._language, self._shared
        if shared.closed:
            raise ShuttingDown(f'model "{self._model}" version {self._version} is being unloaded')
        language.check(self._model, request)
        now, prompt = self._clock(), len(request.prompt)
        room = language.context - prompt
        answer = Answer(request, language.tokenizer, language.config.ends, room)
        job = Job(answer, Stream(prompt, lambda: self._leave(job)), now)
        wait = self._timeout if request.timeout is None else request.timeout
        deadline = None if wait is None else now + wait
        entry = Entry(job, request.prompt, request.priority, now, deadline)
        try:
            with shared.news:
                shared.waiting.admit(entry)
                shared.news.notify_all()
        except QueueFull as full:
            full.retry_after = until_room(self.waiting * self._pace.pace)
            raise
        self._entries[job] = entry
        self._watch.begin()
        self._use.begin(self._model)
        if wait is not None:
            job.timer = self._loop.call_later(wait, self._expire)
        return job.stream

    def submit(
        self, arrays: Arrays, rows: int, terms: Terms, reply: Reply, *, alone: bool = False
    ) -> None:
        """Refuse tensors.

        Raises:
            SignatureMismatch: always.
        """
        raise not_tensors(self._model)

    def withdraw(self) -> None:
        """Do nothing: a stream that is closed removes its request itself."""

    async def drain(self) -> None:
        """Wait until every accepted request has been answered."""
        if self._entries or (self._shared.closed and self._alive):
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def close(self, reason: str = "") -> None:
        """Accept no more requests, and end all current ones with an error. ``reason`` is its text;
        without it, the error says that the model was unloaded."""
        model = f'model "{self._model}"'
        why: QuantserveError = ShuttingDown(f"{model} was unloaded during the request")
        if reason:
            why = NotReady(f"{model} is UNAVAILABLE: {reason}")
        with self._shared.news:
            self._shared.closed = True
            self._shared.waiting.clear()
            self._shared.news.notify_all()
        self._language.end_runs()
        for job in list(self._entries):
            self._finish(job, why)

    def _post(self, lane: Lane, report: Report | None) -> None:
        """Pass a report to the event loop. Called in a lane's thread."""
        with suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(self._take, lane, report)

    def _take(self, lane: Lane, report: Report | None) -> None:
        if lane in self._lost:
            self._lost.discard(lane)
            self._on_lost(False)
        if report is None:
            self._alive.discard(lane)
            self._look()
            return
        for job, news in report.news:
            if job not in self._entries:
                continue
            job.stream.reused_tokens = job.reused
            if isinstance(news, QuantserveError) or news.finish is not None:
                self._finish(job, news)
                self._pace.finished(1, self._clock(), bool(self.waiting))
            else:
                job.stream.tell(news)
        tokens = len(report.first) + len(report.between)
        label = (self._model, self._version)
        self._observe(
            BatchExecuted(*label, report.rows, report.queued, report.timing, report.failed)
        )
        self._observe(
            TokensGenerated(
                *label,
                report.read,
                report.reused,
                tokens,
                report.queued,
                report.first,
                report.between,
            )
        )

    def _finish(self, job: Job, news: News) -> None:
        del self._entries[job]
        if job.timer is not None:
            job.timer.cancel()
        job.stream.tell(news)
        self._look()

    def _leave(self, job: Job) -> None:
        """Remove the request of a client that disconnected: its row is free after the current
        step."""
        entry = self._entries.pop(job, None)
        if entry is None:
            return
        job.left = True
        if job.timer is not None:
            job.timer.cancel()
        with self._shared.news:
            waited = self._shared.waiting.remove(entry)
        if waited:
            seconds = self._clock() - entry.arrived
            dropped = RequestDropped(self._model, self._version, Outcome.CANCELLED, seconds)
            self._observe(dropped)
        self._look()

    def _expire(self) -> None:
        now = self._clock()
        with self._shared.news:
            late = self._shared.waiting.expire(now)
        for entry in late:
            waited = now - entry.arrived
            self._observe(RequestDropped(self._model, self._version, Outcome.EXPIRED, waited))
            self._finish(
                entry.work,
                DeadlineExceeded(
                    f'model "{self._model}": the request waited {waited:.3f} s for its turn,'
                    " longer than it allows"
                ),
            )

    def _living(self) -> set[Lane]:
        return self._alive

    def _give_up(self, lane: Lane) -> None:
        """Stop waiting for a thread that does not return."""
        self._alive.discard(lane)
        self._lost.add(lane)
        self._on_lost(True)

    def _look(self) -> None:
        """Resolve ``drain`` once all requests are answered."""
        if not self._entries:
            self._watch.end()
            self._use.end(self._model)
        over = not self._entries and not (self._shared.closed and self._alive)
        if self._drained is not None and over:
            self._drained.set_result(None)
            self._drained = None
