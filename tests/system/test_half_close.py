"""A client that shuts down its sending side after its requests still gets the answers."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_models
from tests.system.process import Running, running
from tests.system.wire import chunked, get, post

PATH = "/v2/models/counting/infer"
ROUNDS = 50
PATIENCE = 60


def counted(turns: int) -> bytes:
    """A request that runs for about this many microseconds."""
    n = {"name": "n", "datatype": "INT64", "shape": [1], "data": [turns]}
    return json.dumps({"inputs": [n]}).encode()


GOOD = counted(1)
PATIENT = "[batching]\nmax_queue_delay = 10\npreferred_batch_size = 8\n"
"""Requests to this model wait for others."""
LONELY = post(
    "/v2/models/same_fp32/infer",
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}',
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = tmp_path_factory.mktemp("half_closed")
    tiny_models.counting(models)
    tiny_models.wide(models, 2**20)
    tiny_models.identity(models, "FP32")
    (models / "same_fp32/model.toml").write_text(PATIENT)
    with running(models) as each:
        yield each
        assert [line for line in each.logged() if line["level"] in ("error", "warning")] == []


def half_closed(served: Running, *parts: bytes) -> bytes:
    """Send these bytes and half-close; return everything that the server sends."""
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as line:
        for part in parts:
            line.sendall(part)
        line.shutdown(socket.SHUT_WR)
        said = b""
        while more := line.recv(2**16):
            said += more
        return said


def statuses(said: bytes) -> list[int]:
    """Return the statuses of all answers; no body may contain the start of an answer."""
    return [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]


WHOLE = {
    "a prediction": post(PATH, GOOD),
    "a prediction in V1": post("/v1/models/counting:predict", b'{"instances": [1]}'),
    "in chunks": chunked(PATH, GOOD),
    "by the longer way": post(PATH, GOOD, Expect="100-continue"),
    "a long run": post(PATH, counted(20_000)),
    "the control plane": get("/v2/health/live"),
    "the metrics": get("/metrics"),
    "the documentation": get("/openapi.json"),
    "a refusal": post(PATH, b"{"),
    "the last of a connection": post(PATH, GOOD, Connection="close"),
    "HTTP/1.0": post(PATH, GOOD).replace(b"HTTP/1.1", b"HTTP/1.0"),
}


@pytest.mark.parametrize("request_", WHOLE.values(), ids=WHOLE.keys())
def test_a_whole_request_is_answered_each_time(served: Running, request_: bytes) -> None:
    expected = 400 if request_ == WHOLE["a refusal"] else 200
    for _ in range(ROUNDS):
        answers = [s for s in statuses(half_closed(served, request_)) if s != 100]
        assert answers == [expected]


@pytest.mark.parametrize("count", [2, 20, 200])
@pytest.mark.parametrize("turns", [1, 3000])
def test_pipelined_requests_are_all_answered(served: Running, count: int, turns: int) -> None:
    said = half_closed(served, post(PATH, counted(turns)) * count)
    assert statuses(said) == [200] * count


def test_a_long_answer_is_sent_completely(served: Running) -> None:
    body = (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}],'
        b'"parameters":{"binary_data_output":true}}'
    )
    said = half_closed(served, post("/v2/models/wide/infer", body) * 3)
    assert statuses(said) == [200] * 3
    assert len(said) > 3 * 2**22


def test_requests_of_both_planes_are_answered_in_order(served: Running) -> None:
    mixed = (
        post(PATH, counted(5000)) + get("/v2/health/live") + chunked(PATH, b"{") + WHOLE["HTTP/1.0"]
    )
    assert statuses(half_closed(served, mixed)) == [200, 200, 400, 200]


PARTS = {
    "of a head": post(PATH, GOOD)[:40],
    "of a body": post(PATH, GOOD)[:-3],
    "of a chunk": chunked(PATH, GOOD)[:-9],
    "of a body by the longer way": post(PATH, GOOD, Expect="100-continue")[:-3],
    "of a body of the control plane": post("/v2/repository/index", b"{ }")[:-1],
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
@pytest.mark.parametrize("before", [b"", post(PATH, counted(5000))], ids=["first", "second"])
def test_an_incomplete_request_is_refused(served: Running, part: bytes, before: bytes) -> None:
    for _ in range(5):
        answers = [s for s in statuses(half_closed(served, before, part)) if s != 100]
        assert answers == ([200] if before else []) + [400]


def test_a_half_close_without_a_request_gets_no_answer(served: Running) -> None:
    assert half_closed(served) == b""
    with served.line() as line:
        assert line.ask(post(PATH, GOOD)).status == 200
        line.socket.shutdown(socket.SHUT_WR)
        assert line.at_end()


def waiting(served: Running) -> float:
    page = served.ask(get("/metrics")).body.decode()
    found = [s for s in page.splitlines() if s.startswith("quantserve_queue_requests{")]
    return sum(float(line.split()[-1]) for line in found)


def test_a_client_that_disconnects_later_is_not_waited_for(served: Running) -> None:
    with served.line() as late:
        late.socket.sendall(LONELY)
        threading.Event().wait(1.2)  # past the second in which a half-close is one
        assert waiting(served) == 1
        late.socket.shutdown(socket.SHUT_WR)
        assert late.at_end()
    assert waiting(served) == 0


def test_no_connection_stays_open(served: Running) -> None:
    local = f"0100007F:{served.port:04X}"
    guard = threading.Event()
    for _ in range(100):
        table = Path(f"/proc/{served.process.pid}/net/tcp").read_text().splitlines()[1:]
        states = [row.split()[3] for row in table if row.split()[1] == local]
        if not {"01", "08"} & set(states):  # established, close wait
            return
        guard.wait(0.1)
    raise AssertionError(states)
