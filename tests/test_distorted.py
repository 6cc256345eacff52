"""The distorted clock changes the measuring modules only, in the same way for the same seed."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.distorted.sitecustomize import LEAST, MEASURING, MOST, SEED, Distorted

FOLDER = Path(__file__).with_name("distorted")


def readings(seed: int, module: str) -> list[float]:
    """Return the clock readings of a module; the clock advances by a second per reading."""
    names = {"__name__": module, "clock": Distorted(iter(range(100)).__next__, seed)}
    read: list[float] = eval("[clock() for _ in range(100)]", names)
    return read


@pytest.mark.parametrize("module", sorted(MEASURING))
def test_measurements_are_off_by_a_factor_for_each_reading(module: str) -> None:
    read = readings(1, module)
    steps = [after - before for before, after in zip(read, read[1:], strict=False)]
    assert LEAST <= min(steps) < 0.5 and 2 < max(steps) <= MOST
    assert read == readings(1, module) != readings(2, module)


def test_other_modules_read_the_true_clock() -> None:
    assert readings(1, "service.api.transport.exchange") == list(range(100))


@pytest.mark.parametrize("module", sorted(MEASURING))
def test_distorted_modules_read_a_clock(module: str) -> None:
    spec = find_spec(module)
    assert spec and spec.origin
    assert "clock" in (text := Path(spec.origin).read_text()) or "perf_counter" in text


@pytest.mark.parametrize(("seed", "distorted"), [("1", True), (None, False)])
def test_child_processes_of_tests_are_distorted_too(seed: str | None, distorted: bool) -> None:
    environment = {k: v for k, v in os.environ.items() if k != SEED}
    environment |= {SEED: seed} if seed else {}
    done = subprocess.run(
        [sys.executable, "-c", "from time import thread_time; print(type(thread_time).__name__)"],
        env={**environment, "PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip() == "Distorted") is distorted
