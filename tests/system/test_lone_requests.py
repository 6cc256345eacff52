"""A request without concurrent requests runs on all cores, with the same answer as under load."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from service.engine.host.resources import usable_cores
from tests.engine.graphs import linear, model, node, save, value
from tests.system.process import Running, running
from tests.system.wire import get

TOML = "[instances]\ncount = 2\nlone_threads = 2\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models: Path = tmp_path_factory.mktemp("lone")
    save(linear(width=256, hidden=1024), models / "m")
    (models / "m/model.toml").write_text(TOML)
    with running(models) as server:
        yield server


def answer(server: Running, row: np.ndarray) -> bytes:
    given = triton.InferInput("x", row.shape, "FP32").set_data_from_numpy(row)
    with triton.InferenceServerClient(server.address) as client:
        return client.infer("m", [given]).as_numpy("y").tobytes()


def test_the_start_prints_the_lone_threads(served: Running) -> None:
    assert '"threads": 1, "lone_threads": 2' in served.printed


def test_answers_are_the_same_alone_and_under_load(served: Running) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 1, 256)).astype(np.float32)
    alone = [answer(served, row) for row in rows]
    with ThreadPoolExecutor(8) as pool:
        crowd = list(pool.map(lambda row: answer(served, row), rows))
    assert alone == crowd


def workers_of(server: Running) -> list[int]:
    """Return the processes of the workers."""
    page = server.ask(get("/metrics")).body.decode()
    return [
        int(each) for each in re.findall(r"^quantserve_worker_process_id.* (\d+)\.0$", page, re.M)
    ]


@pytest.mark.skipif(usable_cores() < 2, reason="one core: no run can have more")
def test_with_workers_a_lone_run_uses_the_cores_of_other_workers(tmp_path: Path) -> None:
    # With a product, another number of threads may change bits on some machine: no second session.
    ends = [value(name, ("batch", 2)) for name in "xy"]
    save(model([node("Relu", "x", to="y")], ends[:1], ends[1:]), tmp_path / "elementwise")
    save(linear(width=256, hidden=1024), tmp_path / "m")
    for name in ("elementwise", "m"):
        (tmp_path / name / "model.toml").write_text("[instances]\ncount = 1\nlone_threads = 2\n")
    rows = np.random.default_rng(0).standard_normal((40, 1, 256)).astype(np.float32)
    with running(tmp_path, "--workers", "2", supervised=True) as server:
        for worker in workers_of(server):
            tasks = Path(f"/proc/{worker}/task").iterdir()
            cores = {core for each in tasks for core in os.sched_getaffinity(int(each.name))}
            assert cores == os.sched_getaffinity(0)
        alone = [answer(server, row) for row in rows]
        with ThreadPoolExecutor(8) as pool:
            crowd = list(pool.map(lambda row: answer(server, row), rows))
    assert alone == crowd
