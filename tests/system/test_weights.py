"""A real server whose files change while it serves, and small uploads that require much memory or
time."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest

from tests.engine import graphs
from tests.engine.loading.test_rehearsal import looping
from tests.engine.onnx_file.test_snapshot import save_apart, table
from tests.engine.onnx_file.test_summary import hostile
from tests.repositories import put, scale
from tests.system.process import KEY, Running, running

BOUND = 10.0
"""Seconds that any refusal may take on a busy machine; without bounds it is half a minute."""
ROWS = 200_000
IDS = list(range(0, ROWS, 9973))
INPUT = {"name": "x", "datatype": "INT64", "shape": [len(IDS)], "data": IDS}


def apart(models: Path, name: str, seed: int = 0) -> Path:
    """Save a table of 8 MB as external data, which ONNX Runtime reads in place; return its file."""
    return save_apart(table(ROWS, seed), models / name).parent / "weights.bin"


def ask(server: Running, client: httpx.Client, name: str) -> list[float]:
    reply = client.post(f"http://{server.address}/v2/models/{name}/infer", json={"inputs": [INPUT]})
    assert reply.status_code == 200, reply.text
    data: list[float] = reply.json()["outputs"][0]["data"]
    return data


def answers_while(server: Running, name: str, change: Callable[[], None]) -> list[list[float]]:
    """Return the answers that clients receive while ``change`` runs."""
    over, got = threading.Event(), []

    def ask_on() -> None:
        with httpx.Client(timeout=30) as client:
            while not over.is_set():
                got.append(ask(server, client, name))

    threads = [threading.Thread(target=ask_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        change()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return got


@pytest.mark.parametrize("setting", ["", '[instances]\nkind = "sessions"\ncount = 2\n'])
def test_truncated_or_overwritten_files_do_not_change_answers(setting: str, tmp_path: Path) -> None:
    weights, other = apart(tmp_path, "m"), apart(tmp_path / "other", "m", seed=7).read_bytes()
    (tmp_path / "m/model.toml").write_text(setting)
    whole = weights.read_bytes()

    def attack() -> None:
        for _ in range(3):
            os.truncate(weights, 0)
            time.sleep(0.1)
            weights.write_bytes(other)
            (weights.parent / "model.onnx").write_bytes(b"\xff" * 1000)
            time.sleep(0.1)
            weights.write_bytes(whole)

    with running(tmp_path, "--log-level", "warning") as server, httpx.Client() as client:
        before = ask(server, client, "m")
        got = answers_while(server, "m", attack)
        assert len(got) > 3
        assert all(np.allclose(each, before, atol=1e-5) for each in got)
        index = client.post(f"http://{server.address}/v2/repository/index").json()
        (entry,) = [each for each in index if each["name"] == "m"]
        assert entry["state"] == "READY" and "changed since it was loaded" in entry["reason"]
        assert any("changed since it was loaded" in line["message"] for line in server.logged())
        refused = client.post(
            f"http://{server.address}/admin/models/m/swap",
            json={"version": 1},
            headers={"X-API-Key": KEY},
        )
        assert refused.status_code == 409 and "not an ONNX model" in refused.text
        np.testing.assert_allclose(ask(server, client, "m"), before, atol=1e-5)


def test_in_poll_mode_changed_files_pass_the_gate_first(tmp_path: Path) -> None:
    weights = apart(tmp_path, "m")
    other = apart(tmp_path / "other", "m", seed=7).read_bytes()
    with running(tmp_path, "--poll", "0.1") as server, httpx.Client() as client:
        before = ask(server, client, "m")
        weights.write_bytes(other)
        until = time.monotonic() + 30
        while np.allclose(ask(server, client, "m"), before, atol=1e-5):
            assert time.monotonic() < until
        after = ask(server, client, "m")
        os.truncate(weights, 100)
        time.sleep(1)
        np.testing.assert_allclose(ask(server, client, "m"), after, atol=1e-5)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = tmp_path_factory.mktemp("models")
    put(models, "m", 1, table(ROWS).SerializeToString())
    with running(models) as server:
        yield server


KINDS = (
    "dims", "dims of external data", "dims of a sparse tensor", "dims of a constant",
    "dims of an input", "elements", "functions", "a function that calls itself", "nodes", "fields",
    "attributes", "a name",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_that_expands_too_much_is_refused_quickly(kind: str, target: Running) -> None:
    model, taken = hostile(kind), []

    def upload() -> None:
        started = time.monotonic()
        reply = httpx.post(
            f"http://{target.address}/admin/models/new/versions",
            content=model, headers={"X-API-Key": KEY}, timeout=60,
        )  # fmt: skip
        taken.append(time.monotonic() - started)
        assert reply.status_code == 400, reply.text
        assert "is refused" in reply.text or "not an ONNX model" in reply.text

    got = answers_while(target, "m", upload)
    assert taken and taken[0] < BOUND
    assert len(got) >= 1


def test_a_version_that_fails_or_grows_in_every_run_does_not_serve(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(1, width=4))
    put(tmp_path, "grows", 1, _loop(1))
    budget = str(600 * 2**20)
    with running(tmp_path, "--memory-budget", budget) as server:
        for name, model, why in (
            ("m", graphs.fails_from(1).SerializeToString(), "rows of the live version that run"),
            ("grows", _loop(40), "memory: bytes"),
        ):
            place = f"http://{server.address}/admin/models/{name}"
            with httpx.Client(headers={"X-API-Key": KEY}, timeout=60) as client:
                assert client.post(f"{place}/versions?version=2", content=model).is_success
                refused = client.post(f"{place}/swap", json={"version": 2})
                assert refused.status_code == 409 and why in refused.text
                listed = client.get(f"{place}/versions").json()
                assert listed["serving"] == 1
        assert server.process.poll() is None


def _loop(trips: int) -> bytes:
    model: onnx.ModelProto = looping(trips, "Concat", "at", "at")
    data: bytes = model.SerializeToString()
    return data
