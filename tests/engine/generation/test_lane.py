"""A single lane: a long prompt is read in chunks between the tokens of another request."""

import asyncio
from pathlib import Path

from service.core.generation import Delta
from service.engine.generation.answer import Answer
from service.engine.generation.lane import Job, Lane, Report, Shared
from service.engine.generation.scheduler import Entry
from service.engine.generation.stream import Stream
from tests.engine.generation.tiny_batcher import language, request


async def test_a_long_prompt_does_not_delay_other_requests(tmp_path: Path) -> None:
    model, shared = language(tmp_path, rows=2, chunk=8), Shared(9)
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    reports: list[Report] = []

    def tell(_: Lane, report: Report | None) -> None:
        if report is None:
            loop.call_soon_threadsafe(over.set)
            return
        reports.append(report)
        if (
            sum(isinstance(n, Delta) and n.finish is not None for r in reports for _, n in r.news)
            == 2
        ):
            with shared.news:
                shared.closed = True

    lane = Lane(model.decoders[0], shared, model.chunk, tell)
    for asked in (request(0, 4, max_tokens=20), request(1, 60, max_tokens=3)):
        answer = Answer(asked, model.tokenizer, model.config.ends, 100)
        job = Job(answer, Stream(len(asked.prompt), lambda: None), 0.0)
        shared.waiting.admit(Entry(job, asked.prompt, 2, 0.0))
    lane.start("test")
    await over.wait()
    both = [each for each in reports if each.read and each.between]
    assert [each.read for each in both] == [8] * 7
    assert all(len(each.between) == 1 for each in both)
    assert all(each.rows == 2 for each in both)
    assert reports[0].read == 8, "the short prompt and a part of the long one"
    assert sum(len(each.first) for each in reports) == 2
