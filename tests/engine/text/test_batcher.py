"""Texts through the batcher of a tiny model, compared with what its graph computes for each."""

import asyncio
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.core.errors import InputRejected, MalformedRequest, QueueFull, ShuttingDown
from service.core.events import BatchExecuted, Event
from service.core.requests import Terms
from service.core.tensors import Arrays
from service.core.texts import MOST_CHARACTERS, MOST_TEXTS, Prompt, TextOptions
from service.engine.loading.loaded import Loaded
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.session import new_control
from service.engine.text.batcher import TextBatcher
from tests import tiny_texts
from tests.engine.text.made import loaded

TEXTS = ["The dog", "a", "the old cat is in paris", "yes no yes no yes no yes no", "sea"] * 4


class Tiny:
    """A batcher of a tiny model that records its runs."""

    def __init__(self, found: Loaded) -> None:
        assert found.text is not None
        self.events: list[Event] = []
        self.tensors = DynamicBatcher(
            ("tiny", 1),
            found.policy,
            found.instances,
            self.events.append,
            new_control=new_control,
        )
        self.batcher = TextBatcher(("tiny", 1), found.text, found.policy, self.tensors)

    def submit(
        self, prompts: list[Prompt], terms: Terms | None = None, options: TextOptions | None = None
    ) -> "asyncio.Future[Arrays]":
        reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        terms, options = terms or Terms(), options or TextOptions()
        self.batcher.submit_texts(prompts, terms, reply, options)
        return reply

    @property
    def runs(self) -> list[int]:
        """The number of rows of each run."""
        return [each.rows for each in self.events if isinstance(each, BatchExecuted)]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Tiny]]:
    made: list[Tiny] = []

    def build(*args: Any, **options: Any) -> Tiny:
        made.append(Tiny(loaded(tmp_path, *args, **options)))
        return made[-1]

    yield build
    for each in made:
        each.batcher.close()


def expected(text: str) -> np.ndarray:
    encoding = tiny_texts.tokenizer()
    encoding.no_padding()
    vector = tiny_texts.states(encoding.encode(text).ids).mean(axis=0)
    found: np.ndarray = vector / np.linalg.norm(vector)
    return found


async def test_texts_of_all_lengths_get_their_own_answers(make: Callable[..., Tiny]) -> None:
    tiny = make()
    (found,) = await tiny.submit(list(TEXTS))
    np.testing.assert_allclose(found, [expected(text) for text in TEXTS], atol=1e-6)
    singly = await asyncio.gather(*[tiny.submit([text]) for text in TEXTS])
    np.testing.assert_allclose(np.concatenate([each[0] for each in singly]), found, atol=1e-6)
    assert len(tiny.runs) < len(TEXTS)  # requests were batched


async def test_the_tokens_of_a_run_are_limited(make: Callable[..., Tiny]) -> None:
    tiny = make(settings={"text": {"run_tokens": 32}})
    await tiny.submit([[5] * 16] * 5 + [[5] * 3] * 5)  # type: ignore[list-item]
    # Two rows of 16 tokens fill a run, and so do eight of 3, which count as 4.
    assert sorted(tiny.runs) == [1, 2, 2, 5]


@pytest.mark.parametrize("combine", ["never", "auto"])
async def test_answers_are_correct_when_texts_are_not_batched(
    make: Callable[..., Tiny], combine: str
) -> None:
    tiny = make(settings={"batching": {"combine": combine}}, heeds_mask=False)
    (found,) = await tiny.submit(list(TEXTS))
    np.testing.assert_allclose(found, [expected(text) for text in TEXTS], atol=1e-6)
    if combine == "never":
        assert tiny.runs == [1] * len(TEXTS)


async def test_an_invalid_text_fails_only_its_own_request(
    make: Callable[..., Tiny],
) -> None:
    tiny = make(settings={"text": {"truncate": False}})
    wrong: list[tuple[list[Prompt], str]] = [
        (["dog", "the " * 70], "text 1 has more than 64 tokens"),
        (["\udfff"], "not valid Unicode"),
        ([[999]], "999 is not a token id"),
        ([[]], "text 0 has no tokens"),
        ([], "0 texts in one request"),
        (["a"] * (MOST_TEXTS + 1), f"expected 1 to {MOST_TEXTS}"),
        (["x" * (MOST_CHARACTERS + 1)], f"the limit is {MOST_CHARACTERS}"),
    ]
    right = [tiny.submit(["dog"]) for _ in range(3)]
    for prompts, why in wrong:
        with pytest.raises((InputRejected, MalformedRequest), match=why):
            await tiny.submit(prompts)
    for each in await asyncio.gather(*right):
        np.testing.assert_allclose(each[0], [expected("dog")], atol=1e-6)
    cut = await tiny.submit(["the " * 70], options=TextOptions(truncate=True))
    assert cut[0].shape == (1, tiny_texts.WIDTH)
    assert tiny.batcher.in_flight == 0


async def test_outputs_are_chosen_by_index(make: Callable[..., Tiny]) -> None:
    tiny = make(tiny_texts.classifier)
    labels, score, scores = await tiny.submit(["dog", "sea"])
    again, first = await tiny.submit(["dog", "sea"], Terms(outputs=(2, 0)))
    np.testing.assert_array_equal(again, scores)
    assert first.tolist() == labels.tolist() and score.shape == (2,)


async def test_a_full_queue_refuses_requests(make: Callable[..., Tiny]) -> None:
    tiny = make(settings={"batching": {"max_queue_size": 2}})
    replies = [tiny.submit(["dog"]) for _ in range(2)]
    assert (tiny.batcher.in_flight, tiny.batcher.waiting) == (2, 2)
    with pytest.raises(QueueFull, match="2 requests in text are not answered yet"):
        tiny.submit(["dog"])
    await asyncio.gather(*replies)
    await tiny.submit(TEXTS * 20)  # many more groups than the limit of the queue


async def test_less_urgent_requests_do_not_keep_urgent_ones_out(make: Callable[..., Tiny]) -> None:
    tiny = make(settings={"batching": {"max_queue_size": 2}})
    replies = [tiny.submit(["dog"], Terms(priority=3)) for _ in range(2)]
    with pytest.raises(QueueFull):
        tiny.submit(["dog"], Terms(priority=3))
    replies += [tiny.submit(["dog"], Terms(priority=1)) for _ in range(2)]
    with pytest.raises(QueueFull):
        tiny.submit(["dog"], Terms(priority=1))
    await asyncio.gather(*replies)


async def test_urgent_requests_are_tokenized_first(make: Callable[..., Tiny]) -> None:
    tiny = make(settings={"batching": {"combine": "never"}})
    ended = list[str]()
    for name, priority in (("late", 3), ("urgent", 1)):
        reply = tiny.submit(["dog " * 10_000], Terms(priority=priority), TextOptions(truncate=True))
        reply.add_done_callback(lambda _, name=name: ended.append(name))  # type: ignore[misc]
    await tiny.batcher.drain()
    await asyncio.sleep(0)
    assert ended == ["urgent", "late"]


async def test_a_full_queue_says_when_it_has_room(make: Callable[..., Tiny]) -> None:
    # Each request has a run of its own, so that others wait while one is answered.
    tiny = make(settings={"batching": {"max_queue_size": 20, "combine": "never"}})
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*[tiny.submit(["dog"]) for _ in range(20)])
    took = asyncio.get_running_loop().time() - began
    replies = [tiny.submit(["dog"] * 2, Terms(priority=3)) for _ in range(20)]
    with pytest.raises(QueueFull) as full:
        tiny.submit(["dog"], Terms(priority=3))
    # Half of the time that the waiting texts take: twice as many as before.
    assert 0 < full.value.retry_after < 2 * took
    replies += [tiny.submit(["dog"]) for _ in range(20)]
    with pytest.raises(QueueFull) as urgent:
        tiny.submit(["dog"])
    assert urgent.value.retry_after == pytest.approx(full.value.retry_after / 2)
    await asyncio.gather(*replies)


async def test_a_drain_waits_for_texts_that_are_not_tokenized_yet(
    make: Callable[..., Tiny],
) -> None:
    tiny = make()
    replies = [tiny.submit(list(TEXTS)) for _ in range(5)]
    await asyncio.wait_for(tiny.batcher.drain(), 10)
    assert all(each.done() and not each.exception() for each in replies)


async def test_a_cancelled_request_is_dropped(make: Callable[..., Tiny]) -> None:
    tiny = make()
    gone, kept = tiny.submit(list(TEXTS)), tiny.submit(["dog"])
    gone.cancel()
    tiny.batcher.withdraw()
    assert (await kept)[0].shape == (1, tiny_texts.WIDTH)
    await asyncio.wait_for(tiny.batcher.drain(), 10)
    assert tiny.batcher.in_flight == 0


async def test_waiting_requests_get_an_error_at_close(make: Callable[..., Tiny]) -> None:
    tiny = make()
    replies = [tiny.submit(list(TEXTS)) for _ in range(3)]
    tiny.batcher.close()
    for each in replies:
        with pytest.raises(ShuttingDown):
            await each
    with pytest.raises(ShuttingDown, match="is being unloaded"):
        tiny.submit(["dog"])


async def test_a_long_request_does_not_delay_short_ones(make: Callable[..., Tiny]) -> None:
    tiny = make(settings={"text": {"truncate": True}})
    long = tiny.submit(["the old dog runs " * 2000] * 60)
    started = threading.active_count()
    await asyncio.wait_for(tiny.submit(["dog"]), 10)
    assert not long.done() and started >= 1
    (found,) = await asyncio.wait_for(long, 60)
    assert found.shape == (60, tiny_texts.WIDTH)


async def test_tensors_are_still_accepted(make: Callable[..., Tiny]) -> None:
    tiny = make()
    reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
    arrays = (np.array([[2, 6, 3]]), np.ones((1, 3), np.int64), np.zeros((1, 3), np.int64))
    tiny.batcher.submit(arrays, 1, Terms(), reply)
    (states,) = await reply
    np.testing.assert_allclose(states[0], tiny_texts.states([2, 6, 3]), atol=1e-6)


async def test_groups_answered_immediately_do_not_deepen_the_stack(
    make: Callable[..., Tiny],
) -> None:
    """For example by a response cache, which answers while a group enters the queue."""
    tiny = make(settings={"text": {"run_tokens": 1}})
    submit, depths = tiny.tensors.submit, list[int]()

    def at_once(arrays: Arrays, rows: int, terms: Terms, reply: Any, **more: Any) -> None:
        depths.append(len(traceback.extract_stack()))
        reply.set_result((np.ones((rows, tiny_texts.WIDTH), np.float32),))

    tiny.tensors.submit = at_once  # type: ignore[method-assign]
    (found,) = await tiny.submit(["dog"] * 2000)
    tiny.tensors.submit = submit  # type: ignore[method-assign]
    assert found.shape == (2000, tiny_texts.WIDTH) and len(set(depths)) == 1
