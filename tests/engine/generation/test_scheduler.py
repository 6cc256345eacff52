"""The scheduler, driven by a toy engine that records the place of each token in the cache."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.model import GenerationConfig
from service.core.errors import QueueFull
from service.engine.generation.scheduler import (
    LEAST_CHUNK,
    Entry,
    Move,
    Prefill,
    Scheduler,
    Step,
    Waiting,
)


@dataclass(eq=False)
class Job:
    """A request with its number of tokens and its generated tokens."""

    name: int
    wanted: int
    made: list[int] = field(default_factory=list)


class Engine:
    """Runs steps on a toy cache. The cell of a token of a prompt holds the prompt up to this token,
    the cell of a generated token the request and its place."""

    def __init__(
        self,
        slots: int,
        chunk: int,
        limit: int = 1000,
        *,
        reuse: bool = True,
        second_row: bool = False,
    ) -> None:
        self.waiting: Waiting[Job] = Waiting(limit)
        self.scheduler: Scheduler[Job] = Scheduler(
            self.waiting, slots, chunk, reuse=reuse, second_row=second_row
        )
        self.second_row = second_row and slots > 1
        self.cache: list[list[tuple[int, ...]]] = [[] for _ in range(slots)]
        self.reused = 0
        self.chunk = chunk
        self.steps = 0
        self.begun: list[int] = []
        self.finished: list[Job] = []

    def admit(self, job: Job, prompt: int, priority: int = 2, common: int = 0) -> None:
        """Add a request whose first tokens are ``common`` to all requests."""
        tokens = (-1,) * min(common, prompt) + (job.name,) * (prompt - common)
        self.waiting.admit(Entry(job, tokens, priority, float(self.steps)))

    def step(self) -> None:
        self.steps += 1
        step = self.scheduler.step()
        over = []
        assert [entry.row for entry in step.decode] == list(range(len(step.decode)))
        rows = [entry.row for entry in self.scheduler.running]
        assert len(rows) == len(set(rows)) <= self.scheduler.slots
        assert sum(each.stop - each.start for each in step.prefills) <= self.chunk
        assert all(each.last for each in step.prefills[:-1])
        for move in step.moves:
            self._move(move)
        self.reused += sum(entry.cached for entry in step.joined)
        self._check()
        for run in step.runs:
            over += self._read(run)
        for entry in step.decode:
            assert entry.row is not None
            row = self.cache[entry.row]
            del row[entry.cached :]
            row.append(cell(entry, entry.cached))
            over += self._emit(entry)
        if self.second_row and len(step.decode) == 1:
            row, at = self.cache[1], step.next_row_tokens
            row[at : at + 1] = [(-9,)]
        self.scheduler.ran(step)
        self._check()
        for entry in over:
            self.finish(entry)

    def _read(self, run: Sequence[Prefill[Job]]) -> list[Entry[Job]]:
        """Write the rows of a run, which follow one another; those of several are new."""
        over, places = [], set()
        for place, (entry, start, stop) in enumerate(run, run[0].entry.row or 0):
            assert entry.row == place
            row = self.cache[place]
            del row[start:]
            row += [cell(entry, at) for at in range(start, stop)]
            places.add((start, stop))
            assert stop - start > 1 or entry.prompt == 1, "a token alone has other scores"
            if run[0].last:
                over += self._emit(entry)
        assert len(places) == 1
        assert len(run) == 1 or run[0].whole
        return over

    def finish(self, entry: Entry[Job]) -> None:
        self.finished.append(entry.work)
        for move in self.scheduler.finish(entry, keep=entry.work.wanted % 5 != 0):
            self._move(move)
        self._check()

    def _move(self, move: Move) -> None:
        old = self.cache[move.target][: move.kept]
        assert len(old) == move.kept
        self.cache[move.target] = self.cache[move.source][: move.length]
        if move.kept:
            self.cache[move.source] = old

    def _emit(self, entry: Entry[Job]) -> list[Entry[Job]]:
        job = entry.work
        if not job.made:
            self.begun.append(job.name)
        job.made.append(self.steps)
        return [entry] if len(job.made) == job.wanted else []

    def _check(self) -> None:
        """Check that the row of each request has its own tokens, each once and in order."""
        for entry in self.scheduler.running:
            assert entry.row is not None
            expected = [cell(entry, at) for at in range(entry.cached)]
            assert self.cache[entry.row][: entry.cached] == expected
        used = len(self.scheduler.running)
        for row, kept in enumerate(self.scheduler._kept._prompts[used:], used):
            assert self.cache[row][: len(kept)] == [(*kept[: at + 1],) for at in range(len(kept))]


def cell(entry: Entry[Job], at: int) -> tuple[int, ...]:
    """Return what a cell of the cache must hold."""
    prompt = entry.tokens[: at + 1]
    return (*prompt,) if at < entry.prompt else (entry.work.name, at)


Given = tuple[int, int, int, int, int]
requests = st.lists(
    st.tuples(
        st.integers(1, 60),  # tokens of the prompt
        st.integers(1, 12),  # tokens to generate
        st.integers(1, 3),  # priority
        st.integers(0, 6),  # steps before it arrives
        st.integers(0, 70),  # first tokens that are common to all
    ),
    min_size=1,
    max_size=25,
)


@given(requests, st.integers(1, 5), st.integers(3, 16), st.booleans())
def test_every_request_gets_its_tokens_once(
    given_: list[Given], slots: int, chunk: int, second_row: bool
) -> None:
    engine, jobs = Engine(slots, chunk, second_row=second_row), []
    for name, (prompt, wanted, priority, pause, common) in enumerate(given_):
        for _ in range(pause):
            engine.step()
        jobs.append(Job(name, wanted))
        engine.admit(jobs[-1], prompt, priority, common)
    for _ in range(2000):
        if len(engine.finished) == len(jobs):
            break
        engine.step()
    assert all(len(job.made) == job.wanted for job in jobs)
    assert not engine.scheduler.running and not len(engine.waiting)
    assert engine.scheduler.cached == 0


@given(requests, st.integers(1, 5), st.integers(3, 16))
def test_a_prompt_never_delays_decoding(given_: list[Given], slots: int, chunk: int) -> None:
    """After its first token, a request gets one token at every step."""
    engine, jobs = Engine(slots, chunk), []
    for name, (prompt, wanted, priority, pause, common) in enumerate(given_):
        for _ in range(pause):
            engine.step()
        jobs.append(Job(name, wanted))
        engine.admit(jobs[-1], prompt, priority, common)
    while len(engine.finished) < len(jobs):
        engine.step()
    for job in jobs:
        assert job.made == list(range(job.made[0], job.made[0] + job.wanted))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 20)), max_size=20), st.integers(1, 4))
def test_first_come_first_served_within_a_priority(
    given_: list[tuple[int, int]], slots: int
) -> None:
    engine = Engine(slots, 8)
    jobs = [(priority, Job(name, 3)) for name, (priority, _) in enumerate(given_)]
    for (priority, job), (_, prompt) in zip(jobs, given_, strict=True):
        engine.admit(job, prompt, priority)
    while len(engine.finished) < len(jobs):
        engine.step()
    begun = [job.made[0] for _, job in sorted(jobs, key=lambda each: each[0])]
    assert begun == sorted(begun)


@given(requests, st.integers(1, 4), st.data())
def test_a_request_that_ends_at_any_time_does_not_affect_others(
    given_: list[Given], slots: int, data: st.DataObject
) -> None:
    engine = Engine(slots, 7)
    for name, (prompt, wanted, priority, _, common) in enumerate(given_):
        engine.admit(Job(name, wanted), prompt, priority, common)
    for _ in range(60):
        engine.step()
        running = engine.scheduler.running
        if running and data.draw(st.booleans()):
            engine.finish(data.draw(st.sampled_from(running)))
    left = {job.name for job in engine.finished}
    assert len(left) == len(engine.finished)


def test_a_short_prompt_joins_after_one_chunk() -> None:
    engine = Engine(4, 8)
    for name in range(3):
        engine.admit(Job(name, 50), 8)
    for _ in range(4):
        engine.step()
    late = Job(9, 5)
    engine.admit(late, 5)
    engine.step()
    assert late.made == [5]


def test_short_prompts_share_a_chunk() -> None:
    engine = Engine(4, 8)
    for name, prompt in enumerate((3, 3, 3, 3)):
        engine.admit(Job(name, 50), prompt)
    engine.step()
    assert engine.begun == [0, 1]
    engine.step()
    assert engine.begun == [0, 1, 2, 3]


def test_the_setting_allows_no_smaller_chunk() -> None:
    assert GenerationConfig(chunk=LEAST_CHUNK).chunk == LEAST_CHUNK
    with pytest.raises(ValueError, match="greater than or equal to"):
        GenerationConfig(chunk=LEAST_CHUNK - 1)


def step_of(prompts: tuple[int, ...], chunk: int, *, together: bool = True) -> Step[Job]:
    waiting: Waiting[Job] = Waiting(99)
    for name, prompt in enumerate(prompts):
        waiting.admit(Entry(Job(name, 50), (name,) * prompt, 2, 0.0))
    return Scheduler(waiting, 8, chunk, together=together).step()


def read(step: Step[Job]) -> list[list[tuple[int, int | None, int]]]:
    """Return the request, the row and the stop of each chunk, by run."""
    return [
        [(each.entry.work.name, each.entry.row, each.stop) for each in run] for run in step.runs
    ]


def test_prompts_of_one_length_are_read_in_one_run() -> None:
    step = step_of((30, 9, 30, 9), 100)
    assert read(step) == [[(1, 0, 9), (3, 1, 9)], [(0, 2, 30), (2, 3, 30)]]
    apart = step_of((30, 9, 30, 9), 100, together=False)
    assert read(apart) == [[(0, 0, 30)], [(1, 1, 9)], [(2, 2, 30)], [(3, 3, 9)]]
    assert read(step_of((1, 1), 100)) == [[(0, 0, 1)], [(1, 1, 1)]]


def test_a_part_of_a_prompt_is_read_by_itself() -> None:
    step = step_of((8, 8, 500), 24)
    assert read(step) == [[(0, 0, 8), (1, 1, 8)], [(2, 2, 8)]]
    engine = Engine(8, 8)
    for name, prompt in enumerate((10, 2, 2)):
        engine.admit(Job(name, 50), prompt)
    engine.step()
    assert read(engine.scheduler.step()) == [[(0, 0, 10)], [(1, 1, 2), (2, 2, 2)]]


def talk(engine: Engine, name: int, prompt: int, common: int = 0) -> int:
    """Run a request to its end, and return the tokens of its prompt that were reused."""
    before, job = engine.reused, Job(name, 3)
    engine.admit(job, prompt, common=common)
    while job not in engine.finished:
        engine.step()
    return engine.reused - before


@pytest.mark.parametrize("reuse", [True, False])
def test_a_beginning_is_read_once(reuse: bool) -> None:
    engine = Engine(4, 32, reuse=reuse)
    assert talk(engine, 1, 150, common=60) == 0
    assert talk(engine, 2, 90, common=60) == 60 * reuse
    assert talk(engine, 1, 150, common=60) == 148 * reuse


def test_a_run_that_uses_the_second_row_keeps_its_prompt() -> None:
    engine = Engine(3, 100, second_row=True)
    jobs = [Job(name, 9) for name in (1, 2)]
    for job in jobs:
        engine.admit(job, 50)
    while len(engine.finished) < 2:
        engine.step()
    assert talk(engine, 1, 50) == talk(engine, 2, 50) == 48


@pytest.mark.parametrize(("prompt", "reused"), [(90, 3 * 88), (45, 2 * 43), (250, 3 * 248)])
def test_answers_of_one_prompt_read_it_in_one_step_only(prompt: int, reused: int) -> None:
    engine = Engine(4, 100)
    for job in [Job(1, 9) for _ in range(4)]:
        engine.admit(job, prompt)
    while len(engine.finished) < 4:
        engine.step()
    assert engine.reused == reused


def test_a_request_is_left_to_an_idle_scheduler_that_has_more_of_its_prompt() -> None:
    engine = Engine(2, 100)
    talk(engine, 1, 50)
    engine.admit(Job(1, 50), 60)
    engine.admit(Job(2, 50), 60)
    assert engine.scheduler.longest((1,) * 60) == 50
    left = engine.scheduler.step(lambda _: 51)
    assert not left.runs and len(engine.waiting) == 2
    taken = engine.scheduler.step(lambda prompt: 50 if prompt[0] == 1 else 16)
    assert [entry.work.name for entry in taken.joined] == [1], "the other one is left"


def test_the_prompt_of_a_request_that_failed_is_not_reused() -> None:
    engine = Engine(2, 100)
    for failed in (True, False):
        engine.admit(Job(1, 50), 50)
        step = engine.scheduler.step()
        assert step.joined[0].cached == 0
        engine.scheduler.ran(step)
        assert engine.scheduler.finish(step.joined[0], keep=not failed) == ()
    engine.admit(Job(1, 50), 50)
    assert engine.scheduler.step().joined[0].cached == 48


def test_a_row_in_prefill_moves_with_the_others() -> None:
    """Two requests decode and a third reads a long prompt in the next row, when the first ends."""
    engine = Engine(3, 4)
    first = Job(0, 4)
    engine.admit(first, 1)
    engine.admit(Job(1, 50), 1)
    engine.admit(Job(2, 50), 40)
    while len(first.made) < 3:
        engine.step()
    step = engine.scheduler.step()
    (prefill,) = step.prefills
    assert prefill.entry.row == 2
    engine.scheduler.ran(step)
    moves = engine.scheduler.finish(step.decode[0])
    assert moves == (Move(1, 0, step.decode[1].cached), Move(2, 1, prefill.stop))


def test_a_full_queue_refuses_requests() -> None:
    engine = Engine(1, 8, limit=2)
    engine.admit(Job(0, 1), 1)
    engine.admit(Job(1, 1), 1)
    with pytest.raises(QueueFull, match="2 requests are waiting, the limit is 2"):
        engine.admit(Job(2, 1), 1)
    engine.admit(Job(2, 1), 1, priority=1)  # the others do not count towards its limit


def test_requests_past_their_deadline_are_removed() -> None:
    waiting: Waiting[str] = Waiting(10)
    late, patient = Entry("late", (1,), 2, 0.0, 5.0), Entry("patient", (1,), 2, 0.0)
    for entry in (late, patient):
        waiting.admit(entry)
    assert waiting.expire(4.9) == []
    assert waiting.expire(5.0) == [late]
    assert not waiting.remove(late)
    assert waiting.remove(patient)
    assert waiting.pop() is None


def test_all_waiting_requests_can_be_removed() -> None:
    waiting: Waiting[int] = Waiting(10)
    entries = [Entry(n, (1,), n % 2, 0.0) for n in range(4)]
    for entry in entries:
        waiting.admit(entry)
    assert sorted(entry.work for entry in waiting.clear()) == [0, 1, 2, 3]
    assert not len(waiting)
