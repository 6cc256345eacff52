"""One thread that decodes: takes a step from the scheduler, runs it, and reports the result."""

from asyncio import TimerHandle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Condition, Thread
from time import monotonic
from typing import NamedTuple

from service.core.errors import ExecutionFailed, QuantserveError
from service.core.events import Timing
from service.core.generation import Delta
from service.core.ledger import UNNOTED, Mark
from service.engine.generation.answer import Answer
from service.engine.generation.decoder import Decoder
from service.engine.generation.kept_prompts import Tokens
from service.engine.generation.sampling import Floats, sample
from service.engine.generation.scheduler import Entry, Prefill, Scheduler, Step, Waiting
from service.engine.generation.stream import Stream

News = Delta | QuantserveError


@dataclass(eq=False, slots=True)
class Job:
    """A request: the state of its answer, and the stream to its client. ``last`` is the time of its
    last token, or of its arrival. ``reused`` counts the tokens of its prompt that were not read
    again. ``left``: the client has disconnected. ``timer`` ends its wait. Times are seconds of the
    lane's clock."""

    answer: Answer
    stream: Stream
    last: float
    reused: int = 0
    left: bool = False
    timer: TimerHandle | None = None


class Report(NamedTuple):
    """The results of a step.

    ``rows`` counts the rows of its runs, ``read`` the prompt tokens that they read, ``reused`` the
    prompt tokens that were copied instead. Times in seconds: ``queued``
    are the waiting times of requests whose prompt was begun, ``first`` the times to a first token,
    ``between`` the times from one token to the next.
    """

    news: tuple[tuple[Job, News], ...]
    rows: int
    read: int
    reused: int
    queued: tuple[float, ...]
    first: tuple[float, ...]
    between: tuple[float, ...]
    timing: Timing
    failed: int


class Shared:
    """The state that the lanes of a model share: requests that wait, and the lanes that are idle.
    ``news`` guards all of it, and wakes idle lanes."""

    def __init__(self, limit: int) -> None:
        self.news = Condition()
        self.waiting: Waiting[Job] = Waiting(limit)
        self.closed = False
        self.idle: set[Lane] = set()


class Lane:
    """A decoder and its thread. ``tell`` is called in the thread with the report of every step, and
    with None when the thread ends."""

    def __init__(
        self,
        decoder: Decoder,
        shared: Shared,
        chunk: int,
        tell: Callable[["Lane", Report | None], None],
        mark: Mark = UNNOTED,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.mark = mark
        self.scheduler: Scheduler[Job] = Scheduler(
            shared.waiting,
            decoder.cache.rows,
            chunk,
            together=decoder.traits.reads_together,
            reuse=decoder.traits.reuses,
            second_row=decoder.traits.least_rows > 1,
        )
        # The time at which the current step began, None between two steps; the time at which it was
        # told to end, and the reason, else None.
        self.started: float | None = None
        self.stopped: float | None = None
        self._why: QuantserveError | None = None
        self._decoder = decoder
        self._shared = shared
        self._tell = tell
        self._clock = clock

    def start(self, name: str) -> None:
        """Begin to work."""
        Thread(target=self._work, name=name, daemon=True).start()

    def stop(self, now: float, why: QuantserveError) -> None:
        """End the current step; ``why`` is the error of its requests."""
        self.stopped, self._why = now, why
        self._decoder.control.terminate = True

    def _work(self) -> None:
        while (step := self._next()) is not None:
            self.mark.begin()
            self.started = self._clock()
            report = self._run(step)
            self.started = None
            self.mark.end()
            if self.stopped is not None and not self._shared.closed:
                self.stopped, self._why = None, None
                self._decoder.control.terminate = False
            self._tell(self, report)
        tell, self._tell = self._tell, _nobody  # a reference cycle would delay the release
        tell(self, None)

    def _next(self) -> Step[Job] | None:
        """Wait for the next step and return it; None when the model is closed."""
        shared = self._shared
        # Not in the loop, because it may copy rows, and the lock must be free soon. A lane that has
        # waited for news has no requests.
        self._end(entry for entry in self.scheduler.running if entry.work.left)
        with shared.news:
            while not shared.closed:
                step = self.scheduler.step(self._elsewhere)
                if shared.idle and len(shared.waiting):
                    # This lane may have left a request to an idle one, which has looked before the
                    # request was the next.
                    shared.news.notify_all()
                if step.runs or step.decode:
                    return step
                shared.idle.add(self)
                shared.news.wait()
                shared.idle.discard(self)
        return None

    def _elsewhere(self, prompt: Tokens) -> int:
        """Return how many tokens of a prompt the caches of idle lanes have."""
        others = (lane.scheduler for lane in self._shared.idle if lane is not self)
        return max((each.longest(prompt) for each in others), default=0)

    def _end(self, entries: Iterable[Entry[Job]], failed: Sequence[Entry[Job]] = ()) -> None:
        for entry in entries:
            for move in self.scheduler.finish(entry, keep=entry not in failed):
                self._decoder.cache.move(move)

    def _run(self, step: Step[Job]) -> Report:
        started, outcome = self._clock(), _Outcome(lambda: self._why)
        queued = [started - entry.arrived for entry in step.joined]
        for move in step.moves:
            self._decoder.cache.move(move)
        for entry in step.joined:
            entry.work.reused = entry.cached
        for run in step.runs:
            entries = [prefill.entry for prefill in run]
            scores = outcome.guarded(entries, partial(self._read, run))
            if scores is not None and run[0].last:
                self._choose(entries, scores, outcome)
        if step.decode:
            scores = outcome.guarded(step.decode, partial(self._next_scores, step))
            if scores is not None:
                self._choose(step.decode, scores, outcome)
        self.scheduler.ran(step)
        self._end(outcome.over, outcome.failed)
        total = self._clock() - started
        timing = Timing(0.0, total - outcome.sampling, outcome.sampling, 0.0)
        return Report(
            tuple(outcome.news),
            len(step.decode) + len(step.prefills),
            sum(each.stop - each.start for each in step.prefills),
            sum(entry.work.reused for entry in step.joined),
            tuple(queued),
            tuple(outcome.first),
            tuple(outcome.between),
            timing,
            len(outcome.failed),
        )

    def _read(self, run: Sequence[Prefill[Job]]) -> Floats:
        row, start = run[0].entry.row, run[0].start
        assert row is not None, "it has a row. This is a bug."
        chunks = [each.entry.work.answer.request.prompt[start : each.stop] for each in run]
        return self._decoder.read(row, chunks, start)

    def _next_scores(self, step: Step[Job]) -> Floats:
        tokens = [entry.work.answer.tokens[-1] for entry in step.decode]
        lengths = [entry.cached for entry in step.decode]
        return self._decoder.next(tokens, lengths, step.next_row_tokens)

    def _choose(self, entries: Iterable[Entry[Job]], scores: Floats, outcome: "_Outcome") -> None:
        """Choose the next token of each row, and collect the answers to send."""
        started, entries = self._clock(), list(entries)
        choices = sample(scores, [entry.work.answer.sampler for entry in entries])
        now = self._clock()
        for entry, choice in zip(entries, choices, strict=True):
            job = entry.work
            times = outcome.between if job.answer.tokens else outcome.first
            times.append(now - job.last)
            job.last = now
            try:
                delta = job.answer.push(choice)
            except Exception as error:  # the other answers go on
                outcome.fail(entry, error)
                continue
            if delta is not None:
                outcome.news.append((job, delta))
                if delta.finish is not None:
                    outcome.over.append(entry)
        outcome.sampling += self._clock() - started


def _nobody(_: Lane, __: Report | None) -> None:
    """Ignore the report: the lane has ended."""


class _Outcome:
    """The result of a step so far. ``why`` returns the reason if the step was told to end."""

    def __init__(self, why: Callable[[], QuantserveError | None]) -> None:
        self._why = why
        self.news: list[tuple[Job, News]] = []
        self.over: list[Entry[Job]] = []
        self.first: list[float] = []
        self.between: list[float] = []
        self.sampling = 0.0
        self.failed: list[Entry[Job]] = []

    def guarded(self, entries: Iterable[Entry[Job]], run: Callable[[], Floats]) -> Floats | None:
        """Return the scores of a run. If it fails, end only the requests of that run."""
        try:
            return run()
        except Exception as error:
            why = self._why() or error
            for entry in entries:
                self.fail(entry, why)
            return None

    def fail(self, entry: Entry[Job], error: Exception) -> None:
        """End a request with an error. The client is not told the text of an unexpected one."""
        why = error if isinstance(error, QuantserveError) else ExecutionFailed("internal error")
        self.news.append((entry.work, why))
        self.over.append(entry)
        self.failed.append(entry)
