"""Endless runs and loads do not affect other models, and do not stop the process from ending."""

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny_models
from tests.patience import until
from tests.system.process import KEY, ROOT, Running, running, start
from tests.system.wire import Answer, Line, await_listener, free_port, get, post

SAME = "/v2/models/same_fp32/infer"
GOOD = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
).encode()
FOR_EVER = 2**62
STUCK = 900_000
"""Boxes: minutes in one node."""


def number(model: str, n: int) -> bytes:
    body = {"inputs": [{"name": "n", "datatype": "INT64", "shape": [1], "data": [n]}]}
    return post(f"/v2/models/{model}/infer", json.dumps(body).encode())


def change(path: str, body: object = None) -> bytes:
    return post(path, json.dumps(body or {}).encode(), **{"X-API-Key": KEY})


def limits(folder: Path, **seconds: float) -> None:
    text = "".join(f"{name} = {value}\n" for name, value in seconds.items())
    (folder / "model.toml").write_text(f"[limits]\n{text}")


def golden(folder: Path, n: int) -> None:
    """Write a golden set that keeps a warm-up busy."""
    np.savez(folder / "golden.npz", **{"inputs/n": np.array([n]), "outputs/y": np.array([n])})


def metric(server: Running, name: str) -> str:
    lines = server.ask(get("/metrics")).body.decode().splitlines()
    return next((line.rpartition(" ")[2] for line in lines if line.startswith(name)), "")


class Asked:
    """A request on its own connection. Its answer is read later."""

    def __init__(self, server: Running, request: bytes) -> None:
        self.line = server.line()
        self.line.socket.sendall(request)

    def answer(self) -> Answer:
        with self.line:
            return self.line.read()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("endless")
    tiny_models.identity(folder, "FP32")
    for make in (tiny_models.counting, tiny_models.comparing, tiny_models.allocating):
        make(folder, toml="")
        limits(folder / make.__name__, run_timeout=0.5)
    with running(folder) as found:
        yield found


def test_endless_runs_are_ended_and_the_model_stays_available(server: Running) -> None:
    endless = [Asked(server, number("counting", FOR_EVER)) for _ in range(4)]
    for _ in range(20):
        assert server.ask(post(SAME, GOOD)).status == 200
        assert server.ask(get("/v2/health/ready")).status == 200
    for each in endless:
        answer = each.answer()
        assert answer.status == 504, answer.body
        assert "0.5 s" in answer.error and "run_timeout" in answer.error
        assert '"counting"' in answer.error
    assert server.ask(number("counting", 7)).status == 200


def test_a_run_is_ended_if_its_client_disconnects(server: Running) -> None:
    limits(server_folder(server) / "counting", run_timeout=3600)
    assert server.ask(change("/v2/repository/models/counting/load")).status == 200
    for _ in range(4):
        with server.line() as line:
            line.socket.sendall(number("counting", FOR_EVER))
            while metric(server, 'quantserve_instances_busy{model="counting"') == "0.0":
                pass
    assert server.ask(number("counting", 7)).status == 200


def test_a_large_allocation_does_not_block_the_event_loop(server: Running) -> None:
    large = [Asked(server, number("allocating", 2**28)) for _ in range(2)]
    assert server.ask(post(SAME, GOOD)).status == 200
    assert {each.answer().status for each in large} <= {200, 504}


def test_a_node_that_does_not_return_affects_its_model_only(server: Running) -> None:
    stuck = Asked(server, number("comparing", STUCK))
    waiting = Asked(server, number("comparing", 5))
    assert stuck.answer().status == 504
    assert waiting.answer().status in (200, 503)
    # Until the thread is given up, another instance answers, if the model has one.
    until(lambda: server.ask(number("comparing", 5)).status == 503, "the thread is not given up")
    refused = server.ask(number("comparing", 5))
    assert refused.status == 503 and "thread was abandoned" in refused.error
    assert metric(server, "quantserve_lost_threads") == "1.0"
    assert server.ask(post(SAME, GOOD)).status == 200
    index = json.loads(server.ask(change("/v2/repository/index")).body)
    (state,) = [each for each in index if each["name"] == "comparing"]
    assert state["state"] == "UNAVAILABLE" and "abandoned" in state["reason"]
    assert server.ask(change("/v2/repository/models/comparing/load")).status == 200
    assert server.ask(number("comparing", 5)).status == 200


def server_folder(server: Running) -> Path:
    arguments: list[Any] = list(server.process.args)  # type: ignore[arg-type]
    return Path(arguments[arguments.index("--models") + 1])


def test_the_process_stops_in_time_despite_endless_runs(tmp_path: Path) -> None:
    tiny_models.identity(tmp_path, "FP32")
    for name in ("a", "b"):
        tiny_models.counting(tmp_path, name)
    tiny_models.comparing(tmp_path)
    with running(tmp_path, "--shutdown-timeout", "1", code=1) as server:
        asked = [Asked(server, number(name, FOR_EVER)) for name in ("a", "b", "a")]
        asked.append(Asked(server, number("comparing", STUCK)))
        while metric(server, 'quantserve_in_flight_requests{model="comparing"') != "1.0":
            pass
        server.process.send_signal(signal.SIGTERM)
        assert {each.answer().status for each in asked} == {503}
        assert server.process.wait(20) == 1
        assert "did not end in time" not in server.log.read_text()


def test_an_endless_warm_up_does_not_delay_other_models(tmp_path: Path) -> None:
    tiny_models.counting(tmp_path, "endless")
    golden(tmp_path / "endless", FOR_EVER)
    limits(tmp_path / "endless", load_timeout=12.0)
    tiny_models.comparing(tmp_path, "node")
    golden(tmp_path / "node", STUCK)
    limits(tmp_path / "node", load_timeout=1.0)
    tiny_models.identity(tmp_path, "FP32")
    port = free_port()
    process = start(tmp_path, tmp_path / "log", "--port", str(port))
    try:
        await_listener(port)
        with Line(port) as line:
            deadline = time.monotonic() + 60
            while line.ask(post(SAME, GOOD)).status != 200:
                assert time.monotonic() < deadline
            assert line.ask(get("/v2/health/ready")).status == 503
            while line.ask(get("/v2/health/ready")).status != 200:
                assert time.monotonic() < deadline
            index = json.loads(line.ask(change("/v2/repository/index")).body)
        reasons = {each["name"]: each["reason"] for each in index}
        assert "longer than 12 s and was ended (load_timeout" in reasons["endless"]
        assert "longer than 1 s and does not stop" in reasons["node"]
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.communicate()


def test_endless_swaps_do_not_block_other_requests(tmp_path: Path) -> None:
    names = [f"m{i}" for i in range(18)]
    for name in names:
        tiny_models.counting(tmp_path, name)
    shutil.copytree(ROOT / "models/digits", tmp_path / "digits")
    (tmp_path / "digits/serving.toml").unlink(missing_ok=True)
    with running(tmp_path, "--shutdown-timeout", "2") as server:
        for name in names:
            tiny_models.counting(tmp_path / "new", name, toml="")
            shutil.move(tmp_path / "new" / name / "1", tmp_path / name / "2")
            golden(tmp_path / name, FOR_EVER)
        shutil.rmtree(tmp_path / "new")
        answers: list[Answer] = []

        def swap(name: str) -> None:
            with server.line() as line:
                answers.append(line.ask(change(f"/admin/models/{name}/swap", {"version": 2})))

        swaps = [threading.Thread(target=swap, args=(name,)) for name in names]
        for each in swaps:
            each.start()
        while len(answers) < 2:
            pass
        # Sixteen versions are being loaded; further swaps are refused.
        assert [answer.status for answer in answers] == [503, 503]
        assert "16 versions are being loaded" in answers[0].error
        assert server.ask(number("m0", 7)).status == 200
        upload = (ROOT / "models/digits/1/model.onnx").read_bytes()
        path = "/admin/models/digits/versions?version=9"
        assert server.ask(post(path, upload, **{"X-API-Key": KEY})).status == 201
        server.process.terminate()
        for each in swaps:
            each.join(20)
        assert server.process.wait(20) == 0
    assert {answer.status for answer in answers} == {503}
