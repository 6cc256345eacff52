"""Bodies that are read, and answers that are written, away from the event loop of a real server."""

import gzip
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from tests.benchmarks.processes import tree
from tests.repositories import put, scale
from tests.system.process import KEY, Running, running
from tests.system.wire import get, post
from tests.tiny_models import identity, wide

PATIENCE = 60
COUNT = 30_000
"""Numbers that are more than are read or written in the event loop."""
VALUES = np.linspace(-1, 1, COUNT, dtype=np.float32).reshape(1, -1)
FP32 = "/v2/models/same_fp32/infer"
V1 = ("/v1/models/wide:predict", b'{"instances": [[0.123]]}')
HELD = "quantserve_traffic_bytes"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = tmp_path_factory.mktemp("models")
    for datatype in ("FP32", "BYTES"):
        identity(models, datatype)
    with running(models) as started:
        yield started


def body(values: np.ndarray = VALUES, **more: object) -> bytes:
    inputs = {"name": "x", "datatype": "FP32", "shape": list(values.shape)}
    return json.dumps({"inputs": [inputs | {"data": values.tolist()}], **more}).encode()


def codec(server: Running) -> list[int]:
    """Return the codec processes of a server."""
    return [
        pid
        for pid in tree(server.process.pid)
        if b"service.api.offload.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@pytest.mark.parametrize("as_binary", [False, True])
def test_long_tensors_round_trip_through_tritons_client(server: Running, as_binary: bool) -> None:
    client = triton.InferenceServerClient(server.address)
    x = triton.InferInput("x", list(VALUES.shape), "FP32")
    x.set_data_from_numpy(VALUES, binary_data=as_binary)
    y = triton.InferRequestedOutput("y", binary_data=as_binary)
    found = client.infer("same_fp32", [x], outputs=[y]).as_numpy("y")
    assert np.array_equal(found, VALUES)
    words = np.array([[f"word {i}" for i in range(5000)]], dtype=object)
    x = triton.InferInput("x", list(words.shape), "BYTES")
    x.set_data_from_numpy(words, binary_data=as_binary)
    found = client.infer("same_bytes", [x], outputs=[y]).as_numpy("y")
    assert [bytes(w).decode() if as_binary else w for w in found.ravel()] == words.ravel().tolist()
    client.close()


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_long_rows_round_trip_in_v1(server: Running, encoding: str | None) -> None:
    document = json.dumps({"instances": VALUES.tolist()}).encode()
    headers = {}
    if encoding:
        document, headers = gzip.compress(document), {"Content_Encoding": "gzip"}
    answer = server.ask(post("/v1/models/same_fp32:predict", document, **headers))
    assert answer.status == 200
    assert np.array_equal(np.array(answer.json["predictions"], np.float32), VALUES)


def test_pipelined_answers_keep_their_order(server: Running) -> None:
    short = VALUES[:, :2]
    with server.line() as line:
        for sent in (VALUES, short, VALUES, short):
            line.socket.sendall(post(FP32, body(sent)))
        for sent in (VALUES, short, VALUES, short):
            answer = line.read()
            assert answer.status == 200
            assert answer.json["outputs"][0]["shape"] == list(sent.shape)


def test_errors_equal_those_of_short_bodies(server: Running) -> None:
    def told(document: bytes) -> tuple[int, str]:
        answer = server.ask(post(FP32, document))
        return answer.status, answer.json["error"]

    for change in (
        (b'"FP32"', b'"INT8"'),
        (b'"x"', b'"z"'),
        (b'"shape"', b'"form"'),
        (b"[[", b"[[["),
    ):
        short, long = (body(v).replace(*change) for v in (VALUES[:, :2], VALUES))
        (status, text), (long_status, long_text) = told(short), told(long)
        assert status == long_status == 400
        assert text.partition("column")[0][:12] == long_text.partition("column")[0][:12]


def test_a_codec_process_that_dies_fails_only_its_request(server: Running) -> None:
    server.ask(post(FP32, body()))
    assert codec(server)
    for pid in codec(server):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not [p for p in codec(server) if Path(f"/proc/{p}/stat").exists()])
    assert server.ask(post(FP32, body())).status == 200


def stopped(server: Running) -> list[int]:
    """Suspend the codec processes; return their ids."""
    server.ask(post(FP32, body()))
    for pid in (children := codec(server)):
        os.kill(pid, signal.SIGSTOP)
    assert children
    return children


def metric(server: Running, name: str) -> float:
    page = server.ask(get("/metrics")).body.decode()
    return sum(float(s.split()[-1]) for s in page.splitlines() if s.startswith(name))


def cancelled(server: Running) -> float:
    page = server.ask(get("/metrics")).body.decode()
    lines = [s for s in page.splitlines() if s.startswith("quantserve_requests_total{")]
    return sum(float(s.split()[-1]) for s in lines if 'outcome="cancelled"' in s)


@pytest.mark.parametrize("packed", [False, True])
def test_memory_stays_reserved_until_the_body_of_a_disconnected_client_is_freed(
    server: Running, packed: bool
) -> None:
    children, before = stopped(server), cancelled(server)
    sent = post(FP32, body())
    if packed:
        sent = post(FP32, gzip.compress(body()), Content_Encoding="gzip")
    try:
        with server.line() as line:
            line.socket.sendall(sent)
            wait_until(lambda: metric(server, HELD) > len(body()))
        if not packed:  # with gzip, the event is reported when the work has ended
            wait_until(lambda: cancelled(server) > before)
        assert metric(server, HELD) > len(body())
    finally:
        for pid in children:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: metric(server, HELD) == 0)
    assert server.ask(post(FP32, body())).status == 200


def test_memory_of_a_body_is_released_if_its_codec_process_dies(server: Running) -> None:
    children = stopped(server)
    with server.line() as line:
        line.socket.sendall(post(FP32, body()))
        wait_until(lambda: metric(server, HELD) > len(body()))
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        answer = line.read()
    assert answer.status == 503 and "codec process was killed" in answer.json["error"]
    wait_until(lambda: metric(server, HELD) == 0)
    assert server.ask(post(FP32, body())).status == 200


def test_an_answer_that_is_too_large_is_refused_before_encoding(tmp_path: Path) -> None:
    wide(tmp_path, COUNT)
    asked = json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.123]}]}
    ).encode()
    with running(tmp_path, "--max-response-bytes", "90000") as server:
        for path, small in (("/v2/models/wide/infer", asked), V1):
            answer = server.ask(post(path, small))
            assert answer.status == 413 and "--max-response-bytes" in answer.json["error"]
        assert codec(server) == []


def test_disconnects_do_not_affect_other_clients(server: Running) -> None:
    for _ in range(5):
        with server.line() as line:
            line.socket.sendall(post(FP32, body()))
    assert server.ask(post(FP32, body())).status == 200


def test_a_swap_loses_no_long_request(tmp_path: Path) -> None:
    width = 9000
    for number in (1, 2):
        put(tmp_path, "scale", number, scale(float(number), width=width))
    x = np.ones((1, width), np.float32)
    document, found = body(x), []
    with running(tmp_path) as server:
        done = threading.Event()

        def ask() -> None:
            with server.line() as line:
                while not done.is_set():
                    line.socket.sendall(post("/v2/models/scale/infer", document))
                    answer = line.read()
                    value = answer.json["outputs"][0]["data"][0] if answer.status == 200 else 0
                    found.append((answer.status, value))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in (1, 2, 1, 2):
            swap = json.dumps({"version": number}).encode()
            assert server.ask(post("/admin/models/scale/swap", swap, X_API_Key=KEY)).status == 200
            at = len(found)
            wait_until(lambda at=at, number=number: (200, float(number)) in found[at:])
        done.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in found} == {200}
    assert {value for _, value in found} == {1.0, 2.0}


def test_a_stopping_server_answers_requests_that_it_is_reading(tmp_path: Path) -> None:
    identity(tmp_path, "FP32")
    values = np.zeros((1, 2_000_000), np.float32)
    with running(tmp_path) as server, server.line() as line:
        line.socket.sendall(post(FP32, body(values)))
        wait_until(lambda: bool(codec(server)))
        children = codec(server)
        server.process.send_signal(signal.SIGTERM)
        assert line.read().status == 200
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def wait_until(condition: object) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
