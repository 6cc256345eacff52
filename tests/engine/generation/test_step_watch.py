"""Steps that take too long."""

import asyncio
from pathlib import Path
from threading import Event as Flag

import numpy as np
import pytest

from service.core.errors import NotReady, RunTimeout
from service.core.events import Event
from service.core.run_limits import RunLimits
from service.engine.generation.batcher import GenerationBatcher
from service.engine.generation.decoder import Decoder
from service.engine.generation.sampling import Floats
from tests.engine.generation.tiny_batcher import language, request, whole


class Slow(Decoder):
    """A decoder that blocks while ``held`` is set; with ``heeds``, termination ends the wait."""

    held = Flag()
    heeds = True

    def next(self, tokens: list[int], lengths: list[int], next_row_tokens: int = 0) -> Floats:  # type: ignore[override]
        while Slow.held.is_set() and not (self.heeds and self.control.terminate):
            Slow.held.wait(0)
            Flag().wait(0.005)
        return super().next(tokens, lengths)


def slow(folder: Path, heeds: bool) -> GenerationBatcher:
    model = language(folder)
    for decoder in model.decoders:
        decoder.__class__ = Slow
        decoder.heeds = heeds  # type: ignore[attr-defined]
    told: list[Event] = []
    return GenerationBatcher(
        ("tiny", 1), model, told.append, limit=9, limits=RunLimits(0.2, 0.2), on_lost=LOST.append
    )


LOST: list[bool] = []


async def test_a_step_that_takes_too_long_is_ended_and_later_steps_run(tmp_path: Path) -> None:
    batcher = slow(tmp_path, heeds=True)
    Slow.held.set()
    with pytest.raises(RunTimeout, match=r"a step took longer than 0.2 s and was ended"):
        await whole(batcher.generate(request()))
    Slow.held.clear()
    assert (await whole(batcher.generate(request()))).tokens == 20
    batcher.close()
    await batcher.drain()
    assert not LOST


async def test_a_thread_that_does_not_return_is_given_up(tmp_path: Path) -> None:
    batcher = slow(tmp_path, heeds=False)
    Slow.held.set()
    try:
        stream = batcher.generate(request())
        while not LOST:
            await asyncio.sleep(0.01)
        assert LOST == [True]
        assert not batcher.free_marks
        batcher.close("it is stuck")
        with pytest.raises(NotReady, match="it is stuck"):
            await whole(stream)
        await batcher.drain()
    finally:
        Slow.held.clear()
    while len(LOST) < 2:
        await asyncio.sleep(0.01)
    assert LOST == [True, False]
    LOST.clear()


async def test_the_step_timeout_does_not_limit_whole_answers(tmp_path: Path) -> None:
    model = language(tmp_path)
    batcher = GenerationBatcher(
        ("tiny", 1), model, lambda _: None, limit=99, limits=RunLimits(0.05, 5)
    )
    answers = await asyncio.gather(
        *(whole(batcher.generate(request(seed, max_tokens=100))) for seed in range(12))
    )
    assert np.all([answer.tokens == 100 for answer in answers])
    batcher.close()
    await batcher.drain()
