"""A failed batch is run again one request at a time, so that only the bad request fails."""

import numpy as np
import pytest

from service.core.batching import Batch, BatchingMode, BatchKey, BatchPolicy, Entry
from service.core.errors import ExecutionFailed, InputRejected, RunTimeout
from service.core.tensors import Arrays
from service.engine.runtime.execution import Instance


def entry(value: float, rows: int = 1) -> Entry[None]:
    arrays = (np.full((rows, 2), value),)
    return Entry(arrays, rows, BatchKey(((2,),), None), 2, 0.0, None, None)


def batch(*values: float) -> Batch[None]:
    return Batch(tuple(map(entry, values)), len(values))


def double(inputs: Arrays, *_: object) -> Arrays:
    if (inputs[0] < 0).any():
        raise InputRejected("negative")
    if (inputs[0] == 0).any():
        raise ZeroDivisionError("by nothing")
    return (inputs[0] * 2,)


def results(execution: object) -> list[object]:
    found = execution.results  # type: ignore[attr-defined]
    return [each if isinstance(each, Exception) else each[0].tolist() for each in found]


def test_rows_run_together_and_are_returned_by_request() -> None:
    execution = Instance(double, BatchPolicy()).execute(batch(1, 2, 3))
    assert results(execution) == [[[2, 2]], [[4, 4]], [[6, 6]]]
    assert execution.timing.total >= execution.timing.compute >= 0


def test_one_bad_request_fails_alone() -> None:
    first, bad, odd = results(Instance(double, BatchPolicy()).execute(batch(1, -1, 0)))
    assert first == [[2, 2]]
    assert isinstance(bad, InputRejected) and isinstance(odd, ExecutionFailed)
    assert isinstance(odd.__cause__, ZeroDivisionError)


def test_outputs_that_are_not_rows_fail_unless_requests_are_run_whole() -> None:
    def total(inputs: Arrays, *_: object) -> Arrays:
        return (inputs[0].sum(),)

    (failed,) = Instance(total, BatchPolicy()).execute(batch(1)).results
    assert isinstance(failed, ExecutionFailed)
    whole = Instance(total, BatchPolicy(BatchingMode.REQUESTS)).execute(batch(1))
    assert whole.results[0][0] == pytest.approx(2)  # type: ignore[index]


def test_the_reason_of_an_ended_run_replaces_only_errors() -> None:
    why = RunTimeout("too long")
    ended = Instance(double, BatchPolicy()).execute(batch(1, -1)).instead(why)
    assert results(ended) == [[[2, 2]], why]
