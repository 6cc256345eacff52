"""The golden rows run as requests would, and the runs stop when the rollout is abandoned."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from service.config.model import ModelConfig
from service.core.batching import BatchingMode
from service.engine.host.resources import resident_bytes
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import load
from service.engine.repository.gate import Abandoned, answers, budget_check, room_check, room_left
from service.engine.runtime.session import new_control
from tests.repositories import put, scale


def loaded(path: Path, combine: str) -> Loaded:
    put(path, "m", 1, scale(3))
    config = {"batching": {"combine": combine, "max_batch_size": 4}}
    return load(path / "m/1", ModelConfig.model_validate(config), cores=1)


@pytest.mark.parametrize(
    ("combine", "mode"), [("auto", BatchingMode.COMBINE), ("never", BatchingMode.REQUESTS)]
)
def test_golden_rows_run_in_batches_as_in_serving(
    tmp_path: Path, combine: str, mode: BatchingMode
) -> None:
    version = loaded(tmp_path, combine)
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    (got,) = answers(version, (rows,), new_control())
    assert version.plan.mode is mode
    assert got.tolist() == (rows * 3).tolist()


def test_golden_runs_stop_when_the_rollout_is_abandoned(tmp_path: Path) -> None:
    abandoned = new_control()
    abandoned.terminate = True
    with pytest.raises(Abandoned):
        answers(loaded(tmp_path, "auto"), (np.ones((4, 2), np.float32),), abandoned)


def test_a_file_larger_than_the_budget_is_not_read(tmp_path: Path) -> None:
    """Reading the file to find its external data would exhaust the memory of the process."""
    file, size = tmp_path / "model.onnx", 2**30
    with file.open("wb") as made:
        made.truncate(size)
    tracemalloc.start()
    try:
        check = room_check(file, size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not check.passed and isinstance(check.measured, float) and check.measured > size
    assert peak < 2**20


def test_memory_reserved_for_caches_counts_as_used(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(3))
    file, budget = tmp_path / "m/1/model.onnx", resident_bytes() + 2**30
    assert room_check(file, budget).passed and not room_check(file, budget, 2**30).passed
    assert room_left(file, budget) - room_left(file, budget, 2**28) == pytest.approx(2**28, rel=0.1)
    assert budget_check(budget).passed
    failed = budget_check(budget, 2**31)
    assert not failed.passed and failed.measure.endswith("with full caches of language models")
