"""The counters of workers survive the conversion, and are summed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.events import (
    BatchExecuted,
    CacheLookup,
    Event,
    Outcome,
    RequestCompleted,
    RequestDropped,
    Timing,
)
from service.core.statistics import Statistics
from service.supervision.merging import Page, merge
from service.workers.counted import families, statistics_of

SECONDS = st.sampled_from([0.0001, 0.002, 0.5])
EVENTS = st.lists(
    st.one_of(
        st.builds(
            RequestCompleted,
            st.sampled_from(["a", "b"]),
            st.integers(0, 2),
            st.sampled_from(["v1", "v2"]),
            st.sampled_from(Outcome),
            SECONDS,
            rows=st.integers(0, 4),
        ),
        st.builds(
            BatchExecuted,
            st.sampled_from(["a", "b"]),
            st.integers(1, 2),
            st.integers(1, 8),
            st.tuples(SECONDS, SECONDS),
            st.builds(Timing, SECONDS, SECONDS, SECONDS, st.just(0.0), st.integers(1, 3)),
            st.integers(0, 2),
            st.just(()),
        ),
        st.builds(CacheLookup, st.just("a"), st.integers(1, 2), st.booleans(), SECONDS),
        st.builds(
            RequestDropped, st.just("a"), st.integers(1, 2), st.just(Outcome.EXPIRED), SECONDS
        ),
    ),
    max_size=30,
)


def counted(events: list[Event]) -> Statistics:
    found = Statistics(lambda: 7.0)
    for event in events:
        found(event)
    return found


def sent(page: Page) -> Page:
    """Return a page as it arrives over the channel."""
    found: Page = json.loads(json.dumps(page))
    return found


@given(EVENTS, EVENTS)
def test_the_sum_of_two_workers_equals_one_worker_with_all_events(
    one: list[Event], two: list[Event]
) -> None:
    whole = counted([*one, *two])
    pages = [sent(families(counted(events))) for events in (one, two)]
    found = statistics_of(merge(pages))
    assert found.requests.keys() == whole.requests.keys()
    for key, expected in whole.requests.items():
        assert found.requests[key].counts == expected.counts
        assert found.requests[key].rows == expected.rows
        for outcome, seconds in expected.seconds.items():
            assert found.requests[key].seconds[outcome] == pytest.approx(seconds)
    assert found.versions.keys() == whole.versions.keys()
    for label, version in whole.versions.items():
        assert found.versions[label].runs == version.runs
        assert found.versions[label].queue.counts == version.queue.counts
        assert found.versions[label].queue.total == pytest.approx(version.queue.total)
        assert found.versions[label].last == version.last
        by_rows = [(rows, times.count) for rows, times in found.versions[label].by_rows()]
        assert by_rows == [(rows, times.count) for rows, times in version.by_rows()]
        for one_kind, other in (("hits", version.hits), ("misses", version.misses)):
            lookups = getattr(found.versions[label], one_kind)
            assert lookups.count == other.count
            assert lookups.seconds == pytest.approx(other.seconds)
