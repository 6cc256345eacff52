"""The whole engine on the tiny model: threads, cache, sampling, streams."""

import asyncio
import gc
import weakref
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.core.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    InputRejected,
    QueueFull,
    ShuttingDown,
    SignatureMismatch,
)
from service.core.events import BatchExecuted, Event, Outcome, RequestDropped, TokensGenerated
from service.core.generation import FinishReason, GenerationRequest, Parsed, SamplingParameters
from service.core.requests import Terms
from service.core.sole_use import SOLE_AFTER, SoleUse
from service.engine.generation.batcher import GenerationBatcher
from tests.engine.generation.tiny_batcher import GREEDY, batcher, language, request, whole
from tests.engine.generation.tiny_llama import VOCABULARY
from tests.patience import PATIENCE

SETTINGS: list[dict[str, Any]] = [
    {},
    {"sampling": SamplingParameters(seed=1)},
    {"sampling": SamplingParameters(temperature=0.7, top_p=0.9, seed=2, logprobs=2)},
    {"sampling": SamplingParameters(top_k=20, frequency_penalty=0.5, seed=3)},
]


@pytest.mark.parametrize("least_rows", [1, 2])
@pytest.mark.parametrize("lanes", [1, 2])
async def test_answers_are_the_same_alone_and_in_a_batch(
    tmp_path: Path, lanes: int, least_rows: int
) -> None:
    """Twelve requests arrive one after the other and share batches; each gets its text as alone."""
    asked = [
        request(seed, 3 + 7 * seed, max_tokens=5 + 3 * seed, **SETTINGS[seed % 4])
        for seed in range(12)
    ]
    with batcher(tmp_path, lanes=lanes, least_rows=least_rows) as engine:
        alone = [await whole(engine.generate(each)) for each in asked]
        streams = []
        for each in asked:
            streams.append(asyncio.ensure_future(whole(engine.generate(each))))
            await asyncio.sleep(0.002)
        joined = await asyncio.gather(*streams)
    assert [each.tokens for each in alone] == [each.max_tokens for each in asked]
    assert [each.text for each in joined] == [each.text for each in alone]
    assert [each.finish for each in joined] == [FinishReason.LENGTH] * 12


@pytest.mark.parametrize("least_rows", [1, 2])
@pytest.mark.parametrize("together", [1, 2])
async def test_prompts_that_begin_alike_are_read_once(
    tmp_path: Path, least_rows: int, together: int
) -> None:
    """Conversations with a common beginning, in turns; answers are those of a new batcher. Alone,
    their tokens have the same chances too: some kernels compute one row differently from two."""
    common, sampling = request(9, 20).prompt, SamplingParameters(temperature=0.0, logprobs=1)
    events: list[Event] = []

    def turn(seed: int, number: int) -> GenerationRequest:
        own = request(seed, 12 * number).prompt
        return replace(request(sampling=sampling), prompt=(*common, *own))

    turns = [turn(seed, number) for number in range(1, 5) for seed in range(3)]
    with batcher(tmp_path, events, rows=3, least_rows=least_rows) as engine:
        found = []
        for first in range(0, len(turns), together):
            streams = [engine.generate(each) for each in turns[first : first + together]]
            found += [(await whole(stream), stream.reused_tokens) for stream in streams]
    for asked, (answer, _) in zip(turns, found, strict=True):
        with batcher(tmp_path, rows=3, least_rows=least_rows) as fresh:
            alone = await whole(fresh.generate(asked))
        assert answer.text == alone.text
        assert together == 2 or answer == alone
    counted = [each for each in events if isinstance(each, TokensGenerated)]
    reused = sum(each.reused for each in counted)
    assert reused == sum(number for _, number in found) > 100
    assert sum(each.read for each in counted) + reused == sum(len(t.prompt) for t in turns)


async def test_a_conversation_stays_in_the_lane_that_has_it(tmp_path: Path) -> None:
    own = request(1, 110).prompt
    with batcher(tmp_path, lanes=4, rows=2) as engine:
        for turn in range(1, 6):
            asked = replace(request(max_tokens=2), prompt=own[: 20 * turn])
            stream = engine.generate(asked)
            await whole(stream)
            assert stream.reused_tokens == 20 * (turn - 1)
            await until_idle(engine)


async def test_no_request_is_forgotten_when_lanes_leave_requests_to_each_other(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    with batcher(tmp_path, lanes=3, rows=2) as engine:
        for _ in range(60):
            streams = []
            for _ in range(int(random.integers(1, 5))):
                seed, own, urgent = (int(each) for each in random.integers((3, 5, 3)))
                prompt = (*request(seed, 40).prompt, *request(seed + own, 30).prompt)
                asked = request(max_tokens=2, priority=1 + urgent)
                streams.append(whole(engine.generate(replace(asked, prompt=prompt))))
            async with asyncio.timeout(PATIENCE):
                assert all(each.tokens == 2 for each in await asyncio.gather(*streams))


async def until_idle(engine: GenerationBatcher) -> None:
    """Wait until all lanes wait for requests: a lane may be idle a little after its answer."""
    async with asyncio.timeout(PATIENCE):
        while len(engine._shared.idle) < engine.instances:
            await asyncio.sleep(0.001)


async def test_pieces_are_streamed_during_generation(tmp_path: Path) -> None:
    with batcher(tmp_path) as engine:
        stream = engine.generate(request(max_tokens=40))
        pieces = [delta async for delta in stream]
    assert len(pieces) > 1
    assert [each.tokens for each in pieces] == sorted(each.tokens for each in pieces)
    assert pieces[-1].tokens == 40


async def test_a_closed_stream_frees_its_row(tmp_path: Path) -> None:
    events: list[Event] = []
    with batcher(tmp_path, events, rows=1) as engine:
        first = engine.generate(request(max_tokens=100))
        waiting, last = engine.generate(request(1)), engine.generate(request(2, max_tokens=3))
        assert (engine.in_flight, first.over) == (3, False)
        async for _ in first:
            break
        waiting.close()
        first.close()
        first.close()
        assert (await whole(last)).tokens == 3
        assert engine.in_flight == 0
        await engine.drain()
    chosen = sum(each.chosen for each in events if isinstance(each, TokensGenerated))
    assert chosen < 100
    assert [e.outcome for e in events if isinstance(e, RequestDropped)] == [Outcome.CANCELLED]


async def test_a_full_queue_estimates_when_it_has_room(tmp_path: Path) -> None:
    ticks = count(step=10.0)  # each reading of the clock is ten seconds after the one before
    found = GenerationBatcher(
        ("tiny", 1), language(tmp_path, rows=1), lambda _: None, limit=8, clock=lambda: next(ticks)
    )
    short = [found.generate(request(max_tokens=2)) for _ in range(4)]
    # Others still wait when the short ones end: the time between two ends counts only then.
    streams = [found.generate(request(max_tokens=100)) for _ in range(4)]
    await asyncio.gather(*map(whole, short))
    with pytest.raises(QueueFull) as full:
        for _ in range(9):
            streams.append(found.generate(request(max_tokens=100)))
    assert full.value.retry_after >= 8 * 10 / 2 - 1e-6  # sums of floats
    found.close()


async def test_the_model_is_in_use_until_its_last_answer_ends(tmp_path: Path) -> None:
    now = 0.0
    use = SoleUse(lambda: now)
    found = GenerationBatcher(
        ("tiny", 1), language(tmp_path, rows=2), lambda _: None, limit=8, use=use
    )

    def other_is_sole() -> bool:
        nonlocal now
        use.note("other")
        now += SOLE_AFTER
        return use.is_sole("other")

    assert other_is_sole()
    first, last = found.generate(request()), found.generate(request())
    assert not other_is_sole()
    first.close()
    assert not other_is_sole()
    last.close()
    assert other_is_sole()
    stream = found.generate(request(max_tokens=2))
    assert not other_is_sole()
    await whole(stream)
    assert other_is_sole()
    found.close()


async def test_a_full_queue_refuses_requests(tmp_path: Path) -> None:
    with batcher(tmp_path, limit=2, rows=1) as engine:
        streams = [engine.generate(request(max_tokens=100))]
        while engine.waiting:
            await asyncio.sleep(0.001)
        streams += [engine.generate(request()), engine.generate(request())]
        with pytest.raises(QueueFull, match="2 requests are waiting"):
            engine.generate(request())
        assert all([(await whole(each)).finish for each in streams])


async def test_a_request_that_waits_past_its_deadline_is_refused(tmp_path: Path) -> None:
    events: list[Event] = []
    with batcher(tmp_path, events, rows=1) as engine:
        first = engine.generate(request(max_tokens=118))
        late = engine.generate(request(1, timeout=0.001))
        with pytest.raises(DeadlineExceeded, match='model "tiny": the request waited 0.0'):
            await whole(late)
        await whole(first)
    assert [e.outcome for e in events if isinstance(e, RequestDropped)] == [Outcome.EXPIRED]


async def test_urgent_requests_run_first(tmp_path: Path) -> None:
    order: list[str] = []

    async def read(name: str, stream: Any) -> None:
        await whole(stream)
        order.append(name)

    with batcher(tmp_path, rows=1) as engine:
        streams = {"running": engine.generate(request(max_tokens=60))}
        while engine.waiting:
            await asyncio.sleep(0.001)
        for name, priority in (("late", 3), ("usual", 2), ("urgent", 1)):
            streams[name] = engine.generate(request(max_tokens=2, priority=priority))
        await asyncio.gather(*(read(*each) for each in streams.items()))
    assert order == ["running", "urgent", "usual", "late"]


async def test_running_and_waiting_requests_get_an_error_at_close(tmp_path: Path) -> None:
    with batcher(tmp_path, rows=1) as engine:
        streams = [engine.generate(request(max_tokens=118)) for _ in range(3)]
        engine.close()
        for each in streams:
            with pytest.raises(ShuttingDown, match="was unloaded during the request"):
                await whole(each)
        with pytest.raises(ShuttingDown, match="is being unloaded"):
            engine.generate(request())
        await engine.drain()
        assert len(engine.free_marks) == engine.instances == 1


async def test_a_drain_waits_for_the_last_token(tmp_path: Path) -> None:
    with batcher(tmp_path) as engine:
        stream = engine.generate(request(max_tokens=50))
        reading = asyncio.ensure_future(whole(stream))
        await engine.drain()
        assert stream.over
        assert (await reading).tokens == 50


async def test_a_closed_batcher_is_freed_at_once(tmp_path: Path) -> None:
    """There is no reference cycle, so memory does not wait for a garbage collection."""
    with batcher(tmp_path) as engine:
        await whole(engine.generate(request(timeout=1000.0)))
        engine.close()
        await engine.drain()
    gone = weakref.ref(engine)
    gc.disable()
    try:
        del engine
        until = asyncio.get_running_loop().time() + PATIENCE
        while gone() is not None and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)  # time for its thread to return after the last report
        assert gone() is None
    finally:
        gc.enable()


async def test_a_failed_run_ends_only_its_own_requests(tmp_path: Path) -> None:
    with batcher(tmp_path) as engine:
        decoder = engine._language.decoders[0]
        reads, read = iter(range(100)), decoder.read

        def failing(*args: Any) -> Any:
            if next(reads) == 1:
                raise ExecutionFailed("the language model failed: out of order")
            return read(*args)

        decoder.read = failing  # type: ignore[method-assign]
        streams = [engine.generate(request(seed)) for seed in range(3)]
        found = await asyncio.gather(*map(whole, streams), return_exceptions=True)
    assert [type(each).__name__ for each in found] == ["Delta", "ExecutionFailed", "Delta"]


class TooComplex:
    """A form that cannot be followed after three tokens."""

    def __init__(self) -> None:
        self._noted = 0

    @property
    def problem(self) -> str:
        return "too many items" if self._noted > 3 else ""

    def allowed(self) -> NDArray[np.bool_]:
        return np.ones(VOCABULARY, np.bool_)

    def note(self, token: int) -> None:
        del token
        self._noted += 1


class Unexpected:
    """A finder of calls with a bug."""

    over = False

    def push(self, text: str) -> Parsed:
        raise ZeroDivisionError(text)

    def flush(self) -> Parsed:
        raise AssertionError


async def test_an_unexpected_error_in_one_answer_ends_only_its_own_request(tmp_path: Path) -> None:
    with batcher(tmp_path) as engine:
        asked = [request(seed, max_tokens=8, ignore_eos=True) for seed in range(3)]
        asked[1] = replace(asked[1], calls=Unexpected())
        streams = [engine.generate(each) for each in asked]
        found = await asyncio.gather(*map(whole, streams), return_exceptions=True)
        assert [type(each).__name__ for each in found] == ["Delta", "ExecutionFailed", "Delta"]
        assert str(found[1]) == "internal error"
        assert await whole(engine.generate(asked[0])) == found[0]


async def test_a_form_that_cannot_be_followed_ends_only_its_own_request(tmp_path: Path) -> None:
    with batcher(tmp_path) as engine:
        asked = [request(seed, max_tokens=8, ignore_eos=True) for seed in range(3)]
        alone = await whole(engine.generate(asked[2]))
        asked[1] = replace(asked[1], constraint=TooComplex())
        streams = [engine.generate(each) for each in asked]
        found = await asyncio.gather(*map(whole, streams), return_exceptions=True)
        assert [type(each).__name__ for each in found] == ["Delta", "InputRejected", "Delta"]
        assert found[2] == alone
        await engine.drain()
        assert engine.running == engine.in_flight == 0


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"length": 0}, 'model "tiny": the prompt is empty'),
        (
            {"length": 128, "max_tokens": None},
            "a context of 128 tokens; the prompt has 128, 129 in",
        ),
        ({"length": 100, "max_tokens": 29}, "prompt has 100 and 29 are asked for, 129 in all"),
        ({"sampling": SamplingParameters(bias={512: 1.0})}, "512 is not a token id"),
    ],
)
async def test_requests_that_do_not_fit_the_model_are_refused(
    tmp_path: Path, asked: dict[str, Any], why: str
) -> None:
    with batcher(tmp_path) as engine, pytest.raises(InputRejected, match=why):
        engine.generate(request(**asked))


async def test_a_prompt_and_answer_may_fill_the_context(tmp_path: Path) -> None:
    with batcher(tmp_path) as engine:
        assert (await whole(engine.generate(request(length=127, max_tokens=None)))).tokens == 1
        assert (await whole(engine.generate(request(length=100, max_tokens=None)))).tokens == 28


async def test_tensors_are_refused(tmp_path: Path) -> None:
    with batcher(tmp_path) as engine, pytest.raises(SignatureMismatch, match="takes no tensors"):
        engine.submit((np.zeros(1),), 1, Terms(), asyncio.get_running_loop().create_future())


async def test_steps_are_reported_as_events(tmp_path: Path) -> None:
    events: list[Event] = []
    with batcher(tmp_path, events, chunk=8) as engine:
        both = [engine.generate(request(seed, 20, max_tokens=5)) for seed in range(2)]
        await asyncio.gather(*map(whole, both))
    steps = [each for each in events if isinstance(each, TokensGenerated)]
    assert sum(each.read for each in steps) == 40
    assert sum(each.chosen for each in steps) == 10
    assert sum(len(each.queued) for each in steps) == 2
    assert sum(len(each.first) for each in steps) == 2
    assert sum(len(each.between) for each in steps) == 8
    batches = [each for each in events if isinstance(each, BatchExecuted)]
    assert len(batches) == len(steps)
    # Four decoded tokens for each request, and the chunks of both prompts, one of which may have
    # the end of one prompt and the beginning of the other.
    assert 8 + 5 <= sum(each.rows for each in batches) <= 8 + 6
    assert engine.cache_use == 0


async def test_the_same_seed_gives_the_same_tokens(tmp_path: Path) -> None:
    with batcher(tmp_path) as engine:
        asked = [request(sampling=SamplingParameters(seed=seed)) for seed in (5, 5, 6)]
        found = await asyncio.gather(*(whole(engine.generate(each)) for each in asked))
        greedy = await whole(engine.generate(request(sampling=GREEDY)))
    assert found[0].text == found[1].text
    assert len({found[0].text, found[2].text, greedy.text}) == 3
