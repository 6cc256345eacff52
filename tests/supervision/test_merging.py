"""Merged pages: sums never decrease, and gauges are merged by their meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.supervision.merging import counter, counters, gauge, merge, page_of
from service.supervision.scrapes import Scrapes

MODELS = st.sampled_from(["a", "b", "c"])
COUNTS = st.dictionaries(MODELS, st.integers(0, 1000))


def of(counts: dict[str, int]):  # noqa: ANN201
    rows = [({"model": model}, float(count)) for model, count in counts.items()]
    return page_of([counter("requests", "", rows)])


def values(page) -> dict[str, float]:  # noqa: ANN001
    return {labels["model"]: value for _, labels, value, _ in page["requests"][3]}


@given(st.lists(COUNTS, min_size=1, max_size=4))
def test_counters_are_summed_by_label(pages: list[dict[str, int]]) -> None:
    expected = {m: float(sum(page.get(m, 0) for page in pages)) for page in pages for m in page}
    assert values(merge([of(page) for page in pages])) == expected


@given(COUNTS, COUNTS, COUNTS)
def test_merging_is_associative(
    one: dict[str, int], two: dict[str, int], three: dict[str, int]
) -> None:
    left = merge([merge([of(one), of(two)]), of(three)])
    assert values(left) == values(merge([of(one), merge([of(two), of(three)])]))


def test_gauges_are_merged_by_sum_maximum_or_minimum() -> None:
    def page(value: float):  # noqa: ANN202
        names = ("quantserve_queue_requests", "quantserve_model_state", "quantserve_ready")
        return page_of(gauge(name, "", [({}, value)]) for name in names)

    found = merge([page(1.0), page(0.0), page(1.0)])
    assert [family[3][0][2] for family in found.values()] == [2.0, 1.0, 0.0]


def test_ratios_are_averaged() -> None:
    name = "quantserve_kv_cache_usage_perc"
    pages = [page_of([gauge(name, "", [({}, value)])]) for value in (0.2, 0.4, 0.9)]
    assert merge(pages)[name][3][0][2] == pytest.approx(0.5)


def test_merging_does_not_change_its_pages() -> None:
    page = of({"a": 1})
    merge([page, page])
    assert page == of({"a": 1})


def test_only_counters_outlive_a_worker() -> None:
    page = of({"a": 1}) | page_of([gauge("g", "", [({}, 1.0)])])
    assert set(counters(page)) == {"requests"}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 2), st.integers(1, 5)),
        st.tuples(st.just("die"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("scrape"), st.integers(0, 2), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_counters_never_decrease_between_scrapes(steps: list[tuple[str, int, int]]) -> None:
    told: list[tuple[int, dict]] = []  # type: ignore[type-arg]
    scrapes = Scrapes(lambda worker, message: told.append((worker, dict(message))), dict)
    counts, shown = [0, 0, 0], [0.0]
    for kind, worker, by in steps:
        if kind == "count":
            counts[worker] += by
        elif kind == "die":
            scrapes.gone(worker)
            counts[worker] = 0
        else:
            told.clear()
            scrapes.ask(worker, 1, 0.0, [0, 1, 2])
            for each in range(3):
                scrapes.take(each, of({"a": counts[each]}))
            (page,) = [m["page"] for w, m in told if m["event"] == "merged" and w == worker]
            shown.append(values(page)["a"])
    assert shown == sorted(shown)


def test_scrapes_do_not_wait_for_a_silent_worker() -> None:
    told: list[tuple[int, dict]] = []  # type: ignore[type-arg]
    scrapes = Scrapes(lambda worker, message: told.append((worker, dict(message))), dict)
    scrapes.take(1, of({"a": 5}))
    scrapes.ask(0, 3, 10.0, [0, 1])
    scrapes.take(0, of({"a": 2}))
    assert not [m for _, m in told if m["event"] == "merged"]
    scrapes.step(11.5, [0, 1])
    (page,) = [m["page"] for _, m in told if m["event"] == "merged"]
    assert values(page) == {"a": 7.0}
