"""Which is faster, and by how much, where the machine had slow and fast phases."""

import numpy as np
import pytest

from service.quantization.evaluate.timing import Timing, _timing

PHASES = np.array([1.0, 1.0, 10.0, 3.0, 0.5])


def timing(mine: dict[int, float], theirs: dict[int, float]) -> Timing:
    """Of runs that took so long in each phase of the machine, by batch size."""
    return _timing(*({size: s * PHASES for size, s in times.items()} for times in (mine, theirs)))


def test_a_ratio_is_one_of_the_same_round() -> None:
    found = timing({1: 1e-3}, {1: 2e-3})
    assert found.latency_ratio == pytest.approx(2)
    assert (found.p50_seconds, found.reference_p50_seconds) == (1e-3, 2e-3)


def test_each_counts_at_the_batch_that_suits_it() -> None:
    found = timing({1: 1e-3, 8: 2e-3, 64: 64e-3}, {1: 1e-3, 8: 8e-3})
    assert (found.rows, found.latency_ratio) == (8, pytest.approx(1))
    assert found.throughput_ratio == pytest.approx(4)
    assert found.rows_per_second == pytest.approx(4000)
    assert found.reference_rows_per_second == pytest.approx(1000)


def test_one_round_that_was_disturbed_changes_nothing() -> None:
    mine, theirs = np.full(9, 1e-3), np.full(9, 2e-3)
    mine[4] = 1.0
    assert _timing({1: mine}, {1: theirs}).latency_ratio == pytest.approx(2)
