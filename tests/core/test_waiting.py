"""Estimated waiting times from earlier runs."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.core.waiting import WaitEstimate, until_room

RUNS = st.lists(st.tuples(st.integers(1, 64), st.floats(0, 100)), max_size=60)


@given(
    st.lists(st.integers(1, 64), min_size=2, max_size=100),
    st.floats(1e-6, 1),
    st.floats(1e-6, 1),
)
def test_estimate_finds_time_for_a_run_and_for_each_row(
    rows: list[int], run: float, row: float
) -> None:
    assume(max(rows[-20:]) >= 2 * min(rows[-20:]))
    estimate = WaitEstimate(1, 64)
    for each in rows:
        estimate.ran(each, run + row * each)
    found_run, found_row = estimate.cost()
    if found_row:  # there were enough of different sizes
        assert found_run == pytest.approx(run, rel=1e-3, abs=1e-5)
        assert found_row == pytest.approx(row, rel=1e-3, abs=1e-5)


def test_wait_counts_the_runs_ahead_and_half_of_the_current_run() -> None:
    estimate = WaitEstimate(1, 8)
    for rows in (1, 8) * 50:
        estimate.ran(rows, 0.010 + 0.001 * rows)
    # 20 rows are three runs.
    mean = 0.010 + 0.001 * 4.5
    assert estimate.wait(20, 1) == pytest.approx(3 * 0.010 + 20 * 0.001 + mean / 2, rel=0.05)


def test_unmeasured_larger_batches_are_not_assumed_slower() -> None:
    estimate = WaitEstimate(1, 64)
    for _ in range(30):
        estimate.ran(1, 0.01)
    assert estimate.wait(64, 1) == pytest.approx(0.015)
    estimate.ran(64, 0.2)
    assert estimate.wait(64, 1) > 0.1


def test_waiting_rows_are_divided_among_instances() -> None:
    one, four = WaitEstimate(1, 1), WaitEstimate(4, 1)
    for estimate in (one, four):
        estimate.ran(1, 0.1)
    assert one.wait(8, 1) == pytest.approx(0.85) and four.wait(8, 4) == pytest.approx(0.25)
    assert one.wait(8, 3) == pytest.approx(1.05)  # two more are taken and have not begun


def test_the_wait_is_0_before_the_first_run() -> None:
    assert WaitEstimate(2, 8).wait(1000, 2) == 0


def test_estimate_adapts_to_faster_runs() -> None:
    estimate = WaitEstimate(1, 1)
    for _ in range(100):
        estimate.ran(1, 1.0)
    for _ in range(60):
        estimate.ran(1, 0.01)
    assert estimate.wait(1, 1) < 0.1


@given(st.integers(1, 64), st.floats(1e-6, 10), st.integers(2, 50), st.integers(0, 500))
def test_pace_includes_time_between_runs(rows: int, between: float, runs: int, ahead: int) -> None:
    """Something else takes the cores: runs take half of the time from one to the next."""
    estimate, now = WaitEstimate(1, 64), 100.0
    for _ in range(runs):
        estimate.ran(rows, between / 2)
        estimate.finished(rows, now, waiting=True)
        now += between
    assert estimate.pace == pytest.approx(between / rows, rel=1e-3)
    assert estimate.wait(ahead, 1) >= ahead * between / rows * 0.999


def test_idle_time_does_not_count_as_pace() -> None:
    estimate = WaitEstimate(1, 1)
    for now in (0.0, 10.0, 20.0):
        estimate.ran(1, 0.01)
        estimate.finished(1, now, waiting=False)
    assert estimate.pace == 0
    estimate.finished(1, 30.0, waiting=True)
    estimate.finished(1, 30.5, waiting=False)
    assert estimate.pace == pytest.approx(0.5)


def test_pace_adapts_to_faster_runs() -> None:
    estimate, now = WaitEstimate(1, 1), 0.0
    for between in [1.0] * 100 + [0.01] * 60:
        now += between
        estimate.finished(1, now, waiting=True)
    assert estimate.pace < 0.1


@given(RUNS, st.integers(0, 1000), st.integers(1, 8), st.integers(1, 64))
def test_a_wait_is_never_negative_and_grows_with_the_queue(
    runs: list[tuple[int, float]], ahead: int, instances: int, preferred: int
) -> None:
    estimate = WaitEstimate(instances, preferred)
    for rows, seconds in runs:
        estimate.ran(rows, seconds)
    assert 0 <= estimate.wait(ahead, 1) <= estimate.wait(ahead + 1, 1) + 1e-9


def test_a_full_queue_has_room_before_its_last_request_has_its_turn() -> None:
    assert until_room(3.0) == 1.5
