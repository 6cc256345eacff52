"""Stopping the server: admitted requests are answered, and nothing keeps the process alive."""

import json
import re
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests import tiny_models
from tests.patience import PATIENCE, until
from tests.system.process import Running, running, start
from tests.system.wire import Line, await_listener, chunked, free_port, get, post

SAME = "/v2/models/same_fp32/infer"
GOOD = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
).encode()
COUNTING = "/v2/models/counting/infer"
FOR_AGES = 10**10


def count(to: int) -> bytes:
    return json.dumps(
        {"inputs": [{"name": "n", "datatype": "INT64", "shape": [1], "data": [to]}]}
    ).encode()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    tiny_models.identity(folder, "FP32")
    tiny_models.counting(folder)
    return folder


@pytest.fixture
def heeded() -> Iterator[None]:
    """Restore the default of SIGHUP for servers, even if the tests run under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def stopping(models: Path) -> Iterator[Callable[..., Running]]:
    """Return a function that starts a server, which the test stops."""
    open_ = []

    def begin(*flags: str, code: int = 0) -> Running:
        context = running(models, *flags, code=code)
        open_.append(context)
        return context.__enter__()

    yield begin
    for context in open_:
        context.__exit__(None, None, None)


class Client(threading.Thread):
    """A client that sends requests over one connection at a time, until the server is gone."""

    def __init__(self, port: int, request: bytes) -> None:
        super().__init__()
        self.port = port
        self.request = request
        self.statuses: list[int] = []
        self.lost = 0

    def run(self) -> None:
        while True:
            try:
                line = Line(self.port)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                continue  # the port was closed in the middle of this: nothing was asked yet
            with line:
                self._use(line)

    def _use(self, line: Line) -> None:
        fresh = True
        while True:
            try:
                answer = line.ask(self.request)
            except (OSError, IndexError):
                # A connection that the server had not accepted yet ends with its port.
                self.lost += not fresh
                return
            fresh = False
            self.statuses.append(answer.status)
            if answer.headers.get("connection") == "close":
                return


@pytest.mark.parametrize("way", [post, chunked])
@pytest.mark.parametrize("delay", ["0", "0.5"])
@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_request_is_lost_when_the_server_stops_under_load(
    stopping: Callable[..., Running],
    way: Callable[..., bytes],
    delay: str,
    number: signal.Signals,
) -> None:
    server = stopping("--drain-delay", delay)
    requests = [way(SAME, GOOD), way(COUNTING, count(3000))]
    clients = [Client(server.port, requests[i % 2]) for i in range(12)]
    for client in clients:
        client.start()
    until(lambda: all(client.statuses for client in clients), "a client has no answer")
    server.process.send_signal(number)
    for client in clients:
        client.join(PATIENCE)
        assert not client.is_alive()
    assert server.process.wait(PATIENCE) == 0, server.log.read_text()
    assert {status for client in clients for status in client.statuses} == {200}
    assert sum(client.lost for client in clients) == 0
    assert server.logged()[-1]["message"].startswith("stopped: all admitted requests")


def test_readiness_fails_before_the_port_is_closed(
    stopping: Callable[..., Running],
) -> None:
    # All that is asked before the port is closed must fit into the delay.
    server = stopping("--drain-delay", "6")
    ready = get("/v2/health/ready")
    assert server.ask(ready).status == 200
    with server.line() as old:
        assert old.ask(post(SAME, GOOD)).status == 200
        server.process.terminate()
        until(lambda: server.ask(ready).status != 200, "it is still ready")
        last = old.ask(post(SAME, GOOD))
        assert (last.status, last.headers["connection"]) == (200, "close")
        assert old.at_end()
    answer = server.ask(post(SAME, GOOD))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert server.ask(chunked(SAME, GOOD, Expect="100-continue")).headers["connection"] == "close"
    assert server.ask(get("/v2/health/live")).status == 200
    assert server.process.wait(PATIENCE) == 0
    with pytest.raises(ConnectionRefusedError):
        server.line()


def test_queued_requests_are_answered_before_the_stop(stopping: Callable[..., Running]) -> None:
    server = stopping("--shutdown-timeout", "600")
    with ExitStack() as stack:
        lines = [stack.enter_context(server.line()) for _ in range(20)]
        for line in lines:
            line.socket.sendall(post(COUNTING, count(30_000)))
        until(lambda: admitted(server) == 20, "requests have not been admitted")
        server.process.terminate()
        assert [line.read().status for line in lines] == [200] * 20
    assert server.process.wait(PATIENCE) == 0


def admitted(server: Running) -> float:
    """Count the requests for the counting model that were queued, run or answered."""
    page = server.ask(get("/metrics")).body.decode()
    found = re.findall(
        r'^quantserve_(?:requests_total|in_flight_requests)\{model="counting".* (\S+)$', page, re.M
    )
    return sum(map(float, found))


@pytest.mark.parametrize("way", [post, chunked])
def test_a_run_that_hangs_does_not_delay_the_stop(
    stopping: Callable[..., Running], way: Callable[..., bytes]
) -> None:
    server = stopping("--shutdown-timeout", "1", code=1)
    with server.line() as running_, server.line() as waiting:
        running_.socket.sendall(way(COUNTING, count(FOR_AGES)))
        waiting.socket.sendall(way(COUNTING, count(1), Expect="100-continue"))
        assert server.ask(post(SAME, GOOD)).status == 200
        server.process.terminate()
        for line in (running_, waiting):
            answer = line.read()
            assert answer.status == 503
            assert "stopped" in answer.error or "unloaded" in answer.error
    assert server.process.wait(PATIENCE) == 1
    assert server.logged()[-1]["message"] == "stopped: 2 requests have no answer"
    assert "Traceback" not in server.log.read_text()


def test_a_second_signal_stops_at_once(stopping: Callable[..., Running]) -> None:
    server = stopping("--shutdown-timeout", "600", "--drain-delay", "600", code=1)
    with server.line() as line:
        line.socket.sendall(post(COUNTING, count(FOR_AGES)))
        assert server.ask(post(SAME, GOOD)).status == 200
        server.process.terminate()
        until(lambda: server.ask(get("/v2/health/ready")).status != 200, "it is still ready")
        server.process.send_signal(signal.SIGINT)
        assert line.read().status == 503
    assert server.process.wait(PATIENCE) == 1


def test_silent_clients_do_not_delay_the_stop(stopping: Callable[..., Running]) -> None:
    """Idle connections, half a head, half a body, and a run whose client disconnected."""
    server = stopping("--body-timeout", "1", "--shutdown-timeout", "60")
    with server.line() as idle, server.line() as head, server.line() as body:
        assert idle.ask(post(SAME, GOOD)).status == 200
        head.socket.sendall(post(SAME, GOOD)[:30])
        body.socket.sendall(post(SAME, GOOD)[:-5])
        with server.line() as left:
            left.socket.sendall(post(COUNTING, count(FOR_AGES)))
            assert server.ask(post(SAME, GOOD)).status == 200
        server.process.terminate()
        assert body.read().status == 408
        assert idle.at_end()
        assert server.process.wait(PATIENCE) == 0, server.log.read_text()


def test_the_server_stops_while_it_loads(tmp_path: Path) -> None:
    """It is live at once but not ready. No request is admitted yet, so it stops at once."""
    tiny_models.counting(tmp_path)
    golden = {"inputs/n": np.array([10**9]), "outputs/y": np.array([10**9])}
    np.savez(tmp_path / "counting/golden.npz", **golden)
    port = free_port()
    process = start(tmp_path, tmp_path / "log", "--port", str(port))
    try:
        await_listener(port)
        with Line(port) as line:
            assert line.ask(get("/v2/health/live")).status == 200
            answer = line.ask(get("/v2/health/ready"))
            assert answer.status == 503
            refused = line.ask(post(COUNTING, count(1)))
            assert refused.status == 503 and "counting" in refused.error
        process.terminate()
        assert process.wait(PATIENCE) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.communicate()


def test_a_port_in_use_prints_one_line_and_exits_with_2(models: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(models, tmp_path / "log", "--port", str(port))
        assert process.wait(PATIENCE) == 2
        process.communicate()
    log = (tmp_path / "log").read_text()
    assert log.count("\n") == 1 and str(port) in log and "in use" in log


def test_loaded_models_are_served_after_their_folder_is_deleted(
    models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    with running(folder) as server:
        shutil.rmtree(folder)
        assert server.ask(post(SAME, GOOD)).status == 200
        assert server.ask(get("/v2/health/ready")).status == 200
        assert server.ask(get("/v2/models/same_fp32")).status == 200
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("imported", ["pydantic_core", "numpy", "onnxruntime"])
def test_ctrl_c_during_the_start_prints_no_stack_trace(
    models: Path, tmp_path: Path, imported: str
) -> None:
    """The signal arrives when the process has just begun to import a package."""
    log = tmp_path / "log"
    process = start(models, log, "--port", "0")
    maps = Path(f"/proc/{process.pid}/maps")
    while imported not in maps.read_text():
        assert process.poll() is None, log.read_text()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) in (0, 130), log.read_text()
    process.communicate()
    assert "Traceback" not in log.read_text()
