"""The figures of a run, and notes about them."""

from collections import Counter

import pytest

from service.bench.figures import HEADS, head, line, notes, run_of, values
from service.bench.loops import Observed


def test_latencies_are_in_milliseconds_and_exclude_errors() -> None:
    seen = Observed(
        [i / 1000 for i in range(1, 101)], Counter({"503": 2}), {"503": b"{}"}, 2.0, 0.1
    )
    run = run_of("json", 8, None, seen)
    assert (run.requests, run.requests_per_second, run.failed) == (100, 50.0, 2)
    found = (run.p50_ms, run.p95_ms, run.p99_ms, run.max_ms)
    assert found == pytest.approx((50.5, 95.05, 99.01, 100.0))
    assert values(run)["errors"] == {"503": 2}


def test_a_run_without_an_answer_has_no_latency() -> None:
    run = run_of("binary", 1, 20.0, Observed(errors=Counter(connection=3), seconds=1.0))
    assert run.p50_ms is None
    assert line(run).split() == ["binary", "20/s", "0", "-", "-", "-", "-", "3", "0%"]
    assert notes(run) == ["binary at 20/s: 3 x connection error"]


@pytest.mark.parametrize(("cpu", "limited"), [(0.5, False), (0.97, True), (1.3, True)])
def test_a_note_says_that_the_client_was_the_limit(cpu: float, limited: bool) -> None:
    run = run_of("json", 32, None, Observed([0.1], seconds=1.0, client_cpu=cpu))
    assert values(run)["client_limited"] is limited
    assert ["this client was the limit" in note for note in notes(run)] == [True] * limited


def test_a_reason_is_the_servers_message() -> None:
    seen = Observed(errors=Counter({"503": 1, "500": 1}), seconds=1.0)
    seen.reasons = {"503": b'{"error":"full"}', "500": b"<html>"}
    assert run_of("json", 1, None, seen).reasons == {"503": "full", "500": "<html>"}


def test_columns_are_aligned_with_their_headers() -> None:
    shown = line(run_of("binary", 1000, None, Observed([1.2], seconds=1.0)))
    assert len(shown) == len(head()) == 80
    for word in HEADS[1:]:
        end = head().index(word) + len(word)
        assert shown[end - 1] != " " == (shown + " ")[end]
