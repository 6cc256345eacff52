"""Statistics from the counters equal those computed from every event."""

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from service.core.events import BatchExecuted, Outcome, RequestCompleted, RequestDropped, Timing
from service.core.statistics import SECONDS, Histogram, Statistics

seconds = st.floats(0, 20)


@st.composite
def batches(draw: st.DrawFn) -> BatchExecuted:
    queued = tuple(draw(st.lists(seconds, min_size=1, max_size=5)))
    rows = len(queued) + draw(st.integers(0, 300))
    failed = draw(st.sampled_from([0, 0, 0, 1, len(queued)]))
    runs = 1 + len(queued) if failed and len(queued) > 1 else 1
    padding = draw(st.sampled_from([0.0, 0.0, 0.3, 1.0]))
    timing = Timing(draw(seconds), draw(seconds), draw(seconds), padding, runs)
    return BatchExecuted("m", 1, rows, queued, timing, failed)


def check(histogram: Histogram, values: list[float]) -> None:
    """Check that the histogram contains exactly these values, each below its bound."""
    last = 0
    for index, bound in enumerate(histogram.bounds):
        last += histogram.counts[index]
        assert last == sum(value <= bound for value in values)
    assert sum(histogram.counts) == len(values)
    assert histogram.total == approx(sum(values))


@given(st.lists(batches(), min_size=1, max_size=30), st.lists(seconds, max_size=5))
def test_batches_are_counted(events: list[BatchExecuted], dropped: list[float]) -> None:
    statistics = Statistics(lambda: 12.5)
    for event in events:
        statistics(event)
    for waited in dropped:
        statistics(RequestDropped("m", 1, Outcome.EXPIRED, waited))
    found = statistics.versions["m", 1]
    timings = [event.timing for event in events]
    check(found.queue, [q for event in events for q in event.queued] + dropped)
    check(found.compute, [timing.compute for timing in timings])
    check(found.rows, [event.rows for event in events])
    check(found.padding, [timing.padding for timing in timings])
    assert found.runs == sum(timing.runs for timing in timings)
    assert found.all_batches.total == approx(sum(timing.total for timing in timings))
    answered = [(len(e.queued) - e.failed, e.timing) for e in events]
    assert found.answered.count == sum(count for count, _ in answered)
    assert found.answered.compute == approx(sum(n * t.compute for n, t in answered))
    assert found.answered.assemble == approx(sum(n * t.assemble for n, t in answered))
    assert found.answered.split == approx(sum(n * t.split for n, t in answered))
    assert found.last == 12.5


@given(st.lists(batches(), max_size=30))
def test_batch_sizes_count_only_batches_of_one_successful_run(events: list[BatchExecuted]) -> None:
    statistics = Statistics(lambda: 0.0)
    for event in events:
        statistics(event)
    clean = [event for event in events if not event.failed and event.timing.runs == 1]
    sizes = dict(statistics.versions["m", 1].by_rows()) if events else {}
    assert list(sizes) == sorted({event.rows for event in clean})
    for rows, times in sizes.items():
        same = [event.timing for event in clean if event.rows == rows]
        assert times.count == len(same)
        assert times.total == approx(sum(timing.total for timing in same))


@given(
    st.lists(
        st.tuples(st.sampled_from(["v1", "v2"]), st.sampled_from(list(Outcome)), seconds),
        max_size=30,
    )
)
def test_requests_are_counted_by_protocol_and_outcome(
    requests: list[tuple[str, Outcome, float]],
) -> None:
    statistics = Statistics(lambda: 0.0)
    for protocol, outcome, took in requests:
        rows = 3 if outcome is Outcome.OK else 0
        statistics(RequestCompleted("m", 1, protocol, outcome, took, "id", "", rows))
    for protocol in {protocol for protocol, _, _ in requests}:
        found = statistics.requests["m", 1, protocol]
        of_protocol = [(o, took) for p, o, took in requests if p == protocol]
        check(found.duration, [took for _, took in of_protocol])
        for outcome in Outcome:
            same = [took for o, took in of_protocol if o is outcome]
            assert found.counts[outcome] == len(same)
            assert found.seconds[outcome] == approx(sum(same))
        assert found.rows == 3 * found.counts[Outcome.OK]


def test_the_buckets_resolve_100_microseconds_to_10_seconds() -> None:
    assert (SECONDS[0], SECONDS[-1]) == (0.0001, 10.0)
    assert all(above / below <= 2.5 for below, above in zip(SECONDS, SECONDS[1:], strict=False))
