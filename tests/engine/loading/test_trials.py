"""Trials with real sessions."""

from pathlib import Path

import numpy as np
import pytest

from service.core.tensors import Arrays
from service.core.tuning import Candidate
from service.engine.loading.trials import (
    MOST_ROWS,
    ROUNDS,
    Trial,
    batch,
    batch_sizes,
    compare,
    measure,
)
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.repositories import scale


def session(folder: Path, factor: float) -> Session:
    path = folder / f"{factor}.onnx"
    path.write_bytes(scale(factor))
    return Session(path, SessionOptions())


def rows(count: int) -> list[Arrays]:
    return [(np.full((1, 2), i + 1, np.float32),) for i in range(count)]


@pytest.mark.parametrize(
    ("combines", "most", "sizes"),
    [(True, 8, [1, 2, 4, 8]), (True, 6, [1, 2, 4]), (True, 1, [1]), (False, 64, [1])],
)
def test_sizes_are_powers_of_two(combines: bool, most: int, sizes: list[int]) -> None:
    assert batch_sizes(combines, most) == sizes


def test_sizes_are_limited() -> None:
    assert batch_sizes(True, 10**9)[-1] == MOST_ROWS


def test_rows_are_repeated_to_fill_a_batch() -> None:
    (joined,) = batch(rows(2), 5)
    assert joined[:, 0].tolist() == [1, 2, 1, 2, 1]


def test_answers_are_compared_with_the_expected_sessions(tmp_path: Path) -> None:
    expected = session(tmp_path, 2.0)
    same = Trial(Candidate(1, 1, 4, "default"), session(tmp_path, 2.0), batch(rows(4), 4))
    other = Trial(Candidate(1, 1, 4, "default"), session(tmp_path, 3.0), batch(rows(4), 4))
    outputs = expected.signature.outputs
    assert compare(outputs, expected, same) == 0
    assert compare(outputs, expected, other) == pytest.approx(0.5)


def test_every_trial_has_a_rate_for_each_round(tmp_path: Path) -> None:
    shared = session(tmp_path, 2.0)
    trials = [
        Trial(Candidate(1, instances, count, "default"), shared, batch(rows(4), count))
        for instances in (1, 2)
        for count in (1, 4)
    ]
    looks: list[int] = []
    share = measure(trials, 0.2, lambda: looks.append(1))
    assert 0 < share < 1.1
    assert len(looks) == ROUNDS * len(trials)
    for trial in trials:
        figures = trial.measured()
        assert len(figures.rates) == ROUNDS
        assert len(figures.seconds) >= ROUNDS * trial.candidate.instances
        # With one instance a rate is rows by the time of runs, so it is between the rates of runs.
        if trial.candidate.instances == 1:
            of = trial.candidate.rows
            assert of / max(figures.seconds) <= figures.rate <= of / min(figures.seconds)


def test_with_no_time_each_round_has_one_run(tmp_path: Path) -> None:
    trial = Trial(Candidate(1, 2, 1, "default"), session(tmp_path, 2.0), rows(1)[0])
    assert measure([trial], 0.0) == 1.0
    assert len(trial.seconds) == 2 * ROUNDS
    again = trial.anew()
    assert (again.candidate, again.seconds, again.rates) == (trial.candidate, [], [])
