"""The number of workers for a command line."""

from pathlib import Path

import pytest

from service.engine.host.resources import usable_cores
from service.supervision.launch import WORKER_BYTES, model_bytes, wanted, wants_supervisor


def test_flags_override_variables() -> None:
    found = wanted(["serve", "--workers", "3", "--port=81"], {"QUANTSERVE_WORKERS": "2"})
    assert found is not None
    assert (found.workers, found.address.port, found.address.host) == (3, 81, "127.0.0.1")
    assert found.ready == 3
    found = wanted(["serve", "--workers", "3", "--ready-workers", "1"], {})
    assert found is not None and found.ready == 1
    found = wanted(["serve", "--workers", "3"], {"QUANTSERVE_READY_WORKERS": "9"})
    assert found is not None and found.ready == 3
    found = wanted(["serve"], {"QUANTSERVE_WORKERS": "2", "QUANTSERVE_HOST": "::1"})
    assert found is not None and (found.workers, found.address.host) == (2, "::1")


@pytest.mark.parametrize("given", [["--workers", "1"], ["--workers", "many"], [], ["--workers"]])
def test_one_worker_needs_no_fleet(given: list[str]) -> None:
    assert wanted(["serve", *given], {}) is None


def test_auto_uses_all_cores_within_the_memory_budget(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(bytes(1000))
    (tmp_path / "m" / "2").mkdir()
    (tmp_path / "m" / "2" / "model.onnx").write_bytes(bytes(3000))
    assert model_bytes(tmp_path) == 3000
    flags = ["serve", "--workers", "auto", "--models", str(tmp_path), "--memory-budget"]
    assert wanted([*flags, str(WORKER_BYTES)], {}) is None
    found = wanted([*flags, str(100 * WORKER_BYTES)], {})
    assert (found.workers if found else 1) == usable_cores()


def test_a_model_with_its_own_worker_needs_a_fleet(tmp_path: Path) -> None:
    for name, size in (("m", 1000), ("big", 10**9)):
        (tmp_path / name / "1").mkdir(parents=True)
        with (tmp_path / name / "1" / "model.onnx").open("wb") as file:
            file.truncate(size)
    flags = ["serve", "--models", str(tmp_path)]
    assert wanted(flags, {}) is None
    (tmp_path / "big/model.toml").write_text("[worker]\nown = true\n")
    found = wanted(flags, {})
    assert found is not None and (found.workers, found.ready, list(found.own)) == (1, 1, ["big"])
    # Its worker needs two GB of memory, the other one next to nothing.
    assert 0.9 < found.own["big"] < 1
    budget = ["--memory-budget", str(2 * 10**9 + 3 * WORKER_BYTES)]
    found = wanted([*flags, *budget, "--workers", "auto"], {})
    assert found is not None and found.workers == 1


def test_a_supervised_server_starts_no_supervisor() -> None:
    assert wants_supervisor(["serve"], {})
    assert not wants_supervisor(["serve", "--no-supervisor"], {})
    assert not wants_supervisor(["serve"], {"QUANTSERVE_NO_SUPERVISOR": "yes"})
