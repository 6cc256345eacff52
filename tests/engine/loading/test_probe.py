"""The probe finds how a model behaves with a batch, also on a machine with other load."""

from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.batching import BatchPolicy
from service.core.errors import ExecutionFailed
from service.core.tensors import DATATYPES, Arrays, TensorSpec
from service.engine.loading.probe import Probe, probe, run_together

OUTPUTS = [TensorSpec("y", DATATYPES["FP32"], ("batch", 2))]
Function = Callable[[np.ndarray], np.ndarray]
ROWS = [(np.full((1, 2), 2.0**i, np.float32),) for i in range(8)]


class Machine:
    """A model of known cost on a machine with other load, with a simulated clock.

    A run costs ``fixed`` and ``row`` seconds for each row, and with a chance of ``busy`` another
    30 ms, because other threads run in between.
    """

    def __init__(
        self,
        fixed: float,
        row: float,
        busy: float = 0.0,
        seed: int = 0,
        function: Function = lambda x: x,
    ) -> None:
        self._fixed, self._row, self._busy, self._function = fixed, row, busy, function
        self._random = Random(seed)
        self.now = 0.0
        self.calls = 0

    def run(self, inputs: Arrays, _: object) -> Arrays:
        slow = self._random.random() < self._busy
        self.now += self._fixed + self._row * len(inputs[0]) + 0.03 * slow
        self.calls += 1
        return (self._function(inputs[0]),)

    def probe(self, rows: Sequence[Arrays] = ROWS, max_rows: int = 64) -> Probe:
        return probe(self.run, OUTPUTS, rows, max_rows, lambda: self.now)

    def preferred(self) -> int:
        return self.probe().preferred_rows()


def found(function: Function, max_rows: int = 64, rows: Sequence[Arrays] = ROWS) -> Probe:
    """Probe on a machine where larger batches are always faster, so that all sizes are tried."""
    return Machine(1e-3, 1e-7, function=function).probe(rows, max_rows)


def test_independent_rows_have_no_deviation() -> None:
    result = found(lambda x: x * 2)
    assert (result.deviation, result.neighbours, result.failure) == (0, 0, "")
    assert result.equivariant and result.repeatable and result.row_per_row


def test_one_scale_for_the_whole_batch_is_detected() -> None:
    def dynamic(x: np.ndarray) -> np.ndarray:
        step = np.abs(x).max() / 10
        return np.round(x / step) * step

    result = found(dynamic)
    assert result.neighbours > 0.01 and result.deviation > 0.01 and result.equivariant


def test_deviation_by_batch_size_is_separate_from_deviation_by_other_rows() -> None:
    result = found(lambda x: x * (1 + 0.004 * (len(x) > 1)))
    assert result.deviation == pytest.approx(0.004, rel=0.01) and result.neighbours == 0


def test_outputs_divided_by_the_batch_size_are_a_deviation() -> None:
    result = found(lambda x: x / len(x))
    assert result.deviation > 0.4 and result.neighbours == 0


def test_a_running_sum_over_rows_is_not_equivariant() -> None:
    result = found(lambda x: np.cumsum(x, axis=0))
    assert result.neighbours > 1 and not result.equivariant


def test_a_mean_over_rows_is_equivariant() -> None:
    result = found(lambda x: x - x.mean(axis=0))
    assert result.neighbours > 0.1 and result.equivariant


def test_random_outputs_are_detected() -> None:
    rng = np.random.default_rng(0)
    assert not found(lambda x: rng.standard_normal(x.shape)).repeatable


@pytest.mark.parametrize(("limit", "stopped"), [(2, 2), (8, 8), (9, 16)])
def test_the_batch_size_at_which_a_model_fails_is_reported(limit: int, stopped: int) -> None:
    def run(x: np.ndarray) -> np.ndarray:
        if len(x) >= limit:
            raise ExecutionFailed("out of cheese")
        return x

    result = found(run)
    assert result.failure == f"{stopped} rows cannot share a run: out of cheese"
    assert result.row_per_row and max(result.seconds) == stopped // 2


@pytest.mark.parametrize(
    ("function", "shape"),
    [(np.mean, "[]"), (lambda x: x[:1], "[1, 2]"), (lambda x: x.T, "[2, 3]")],
)
def test_outputs_without_one_row_per_input_row_are_reported(function: Function, shape: str) -> None:
    result = found(lambda x: np.asarray(function(x)), max_rows=3)
    assert not result.row_per_row
    assert 'output "y" has shape ' in result.failure


def test_a_single_row_is_not_enough_to_find_a_dependency() -> None:
    result = found(lambda x: x, rows=ROWS[:1])
    assert result.alike and result.neighbours == 0 and not found(lambda x: x).alike


def test_a_row_that_fails_alone_is_an_error() -> None:
    def run(_: np.ndarray) -> np.ndarray:
        raise ExecutionFailed("no")

    with pytest.raises(ExecutionFailed):
        found(run)


def test_sizes_end_at_the_limit() -> None:
    sizes: set[int] = set()

    def run(x: np.ndarray) -> np.ndarray:
        sizes.add(len(x))
        return x

    found(run, max_rows=6)
    assert sizes == {1, 2, 4, 6}
    sizes.clear()
    found(run, max_rows=1)
    assert sizes == {1}


COSTS = [(0.0, 1e-3, 1), (1e-3, 1e-6, 64), (5e-4, 1e-4, 32), (0.0, 10.0, 1), (2e-3, 1e-2, 2)]


@pytest.mark.parametrize(("fixed", "row", "expected"), COSTS)
def test_the_smallest_batch_size_with_full_speed_is_preferred(
    fixed: float, row: float, expected: int
) -> None:
    assert Machine(fixed, row).preferred() == expected


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(COSTS), st.integers(0, 10**9), st.floats(0, 0.15))
def test_other_work_on_the_machine_does_not_change_the_size(
    cost: tuple[float, float, int], seed: int, busy: float
) -> None:
    fixed, row, expected = cost
    if row < 1.0:  # a run of ten seconds is measured once
        assert Machine(fixed, row, busy, seed).preferred() == expected


def test_a_slow_model_is_not_run_often() -> None:
    machine = Machine(0.0, 10.0)
    machine.preferred()
    assert machine.calls <= 12


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [
        ({1: 1.0, 2: 2.0, 4: 4.0}, 1),
        ({1: 1.0, 2: 1.1, 4: 2.0, 8: 3.6}, 2),
        ({1: 1.0, 2: 1.9, 4: 3.2}, 0),  # twice two rows take less than twice the time
        ({1: 1.0, 2: 1.1}, 0),
        ({1: 2e-5, 2: 4e-5, 4: 8e-5}, 0),  # the cost of a run beside the graph counts
        ({}, 0),
    ],
)
def test_batches_are_divided_down_to_a_size_from_which_on_each_row_takes_as_long(
    seconds: dict[int, float], rows: int
) -> None:
    assert Probe(seconds).divided_rows() == rows


def test_the_preferred_batch_size_may_have_a_minimum() -> None:
    flat = Probe({1: 1.0, 2: 2.0, 4: 4.0})
    assert flat.preferred_rows() == 1 and flat.preferred_rows(2) == 2
    assert Probe().preferred_rows() == 1 and Probe({1: 1.0}).preferred_rows(2) == 2


def test_rows_of_different_shapes_without_padding_cannot_share_a_run() -> None:
    rows = [(np.zeros((1, width), np.float32),) for width in (2, 3)]
    with pytest.raises(ExecutionFailed, match="different shapes"):
        run_together(lambda inputs, _: inputs, rows, BatchPolicy())
