"""A worker may raise, die or hang; the caller gets a reason and can continue."""

import os
import signal
import time
from pathlib import Path

import pytest

from service.quantization.evaluate.quality import user_metric
from service.quantization.evaluate.worker import Worker, WorkFailed
from tests.patience import PATIENCE


def test_calls_run_in_one_process() -> None:
    with Worker() as worker:
        first, second = (worker.call(PATIENCE, os.getpid) for _ in range(2))
    assert first == second != os.getpid()


def test_exceptions_are_returned_as_reasons() -> None:
    with Worker() as worker, pytest.raises(WorkFailed, match="FileNotFoundError: .*nowhere"):
        worker.call(PATIENCE, Path("/nowhere").read_text)


def test_a_worker_that_dies_is_replaced() -> None:
    with Worker() as worker:
        with pytest.raises(WorkFailed, match="killed by SIGKILL, possibly out of memory"):
            worker.call(PATIENCE, signal.raise_signal, signal.SIGKILL)
        assert worker.call(PATIENCE, os.getpid) > 0


def test_a_worker_that_hangs_times_out() -> None:
    with Worker() as worker, pytest.raises(WorkFailed, match="took too long"):
        worker.call(0.3, time.sleep, 60)


def test_printing_does_not_corrupt_results() -> None:
    with Worker() as worker:
        assert worker.call(PATIENCE, print, "noise") is None


def test_a_worker_runs_in_its_folder_and_imports_modules_of_its_parent(tmp_path: Path) -> None:
    with Worker(tmp_path) as worker:
        assert worker.call(PATIENCE, os.getcwd) == str(tmp_path)


def test_configuration_errors_are_raised_unchanged() -> None:
    with Worker() as worker, pytest.raises(WorkFailed, match="^--metric no:such"):
        worker.call(PATIENCE, user_metric, "no:such")
