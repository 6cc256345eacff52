"""A second session for lone requests is used only if its answers are identical in every bit."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from service.core.lone import LoneCores
from service.engine.loading.all_cores import fastest, lone_session
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine.graphs import linear, random_output, save


@pytest.fixture
def rows() -> list[tuple[np.ndarray, ...]]:
    random = np.random.default_rng(0)
    return [(random.standard_normal((1, 32), np.float32),) for _ in range(3)]


def session(proto: onnx.ModelProto, folder: Path) -> Session:
    return Session(save(proto, folder) / "model.onnx", SessionOptions())


def test_a_session_with_the_same_answers_is_used(
    tmp_path: Path, rows: list[tuple[np.ndarray, ...]]
) -> None:
    usual = session(linear(), tmp_path)
    lone, note = lone_session(usual, rows, LoneCores(2), measured=False)
    assert lone is not None and note == ""
    assert lone.options.threads == 2 and lone.options.spinning
    assert all(np.array_equal(lone.run(row)[0], usual.run(row)[0]) for row in rows)


def test_a_session_with_different_answers_is_not_used(tmp_path: Path) -> None:
    usual, row = session(random_output(), tmp_path), (np.zeros((1, 4), np.float32),)
    usual.run(row)  # both sessions begin with the same random numbers
    lone, note = lone_session(usual, [row], LoneCores(2), measured=False)
    assert lone is None and note.startswith("answers differ with 2 threads")


@pytest.mark.parametrize(("most", "rounds"), [(3600, 4), (0, 2)])
def test_times_are_the_best_of_several_rounds(most: float, rounds: int) -> None:
    calls: list[str] = []
    both = [lambda: calls.append("a"), lambda: calls.append("b")]
    times = fastest(both, rounds=3, seconds=(0, most))
    assert calls == ["a", "b"] * rounds and len(times) == 2 and all(taken >= 0 for taken in times)
