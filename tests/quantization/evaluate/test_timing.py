"""Speed ratios on a machine with slow and fast phases."""

import numpy as np
import pytest

from service.quantization.evaluate.timing import Timing, _timing

PHASES = np.array([1.0, 1.0, 10.0, 3.0, 0.5])


def timing(mine: dict[int, float], theirs: dict[int, float]) -> Timing:
    """Return the timing of two models, from seconds by batch size, over all phases."""
    return _timing(*({size: s * PHASES for size, s in times.items()} for times in (mine, theirs)))


def test_ratios_compare_times_of_the_same_round() -> None:
    found = timing({1: 1e-3}, {1: 2e-3})
    assert found.latency_ratio == pytest.approx(2)
    assert (found.p50_seconds, found.reference_p50_seconds) == (1e-3, 2e-3)


def test_throughput_is_compared_at_the_best_batch_size_of_each() -> None:
    found = timing({1: 1e-3, 8: 2e-3, 64: 64e-3}, {1: 1e-3, 8: 8e-3})
    assert (found.rows, found.latency_ratio) == (8, pytest.approx(1))
    assert found.throughput_ratio == pytest.approx(4)
    assert found.rows_per_second == pytest.approx(4000)
    assert found.reference_rows_per_second == pytest.approx(1000)


def test_one_disturbed_round_does_not_change_the_result() -> None:
    mine, theirs = np.full(9, 1e-3), np.full(9, 2e-3)
    mine[4] = 1.0
    assert _timing({1: mine}, {1: theirs}).latency_ratio == pytest.approx(2)
