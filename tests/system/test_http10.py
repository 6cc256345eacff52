"""HTTP/1.0, as ab and old proxies use it: the connection stays open if the client offers
keep-alive, and every answer then has a Content-Length.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.parts import AB
from tests.system.process import Running
from tests.system.wire import chunked, get, post

PATH = "/v2/models/same_fp32/infer"
GOOD = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
).encode()
INFER = post(PATH, GOOD)
ASKED = {
    "inference": (INFER, 200),
    "in V1": (post("/v1/models/same_fp32:predict", b'{"instances": [[1, 2]]}'), 200),
    "compressed": (post(PATH, GOOD, Accept_Encoding="gzip"), 200),
    "no such model": (post("/v2/models/nobody/infer", GOOD), 404),
    "not JSON": (post(PATH, b"{"), 400),
    "a method that is not allowed": (get(PATH), 405),
    "health": (get("/v2/health/ready"), 200),
    "metrics": (get("/metrics"), 200),
    "HEAD": (get("/v2/health/ready", "HEAD"), 200),
    "OPTIONS": (get(PATH, "OPTIONS"), 204),
    "nothing there": (get("/nothing"), 404),
}


def old(request: bytes, connection: str = "Keep-Alive") -> bytes:
    """Return the same request in HTTP/1.0."""
    offer = f"\r\nConnection: {connection}\r\n".encode() if connection else b"\r\n"
    return request.replace(b" HTTP/1.1\r\n", b" HTTP/1.0" + offer, 1)


@pytest.mark.parametrize(("request_", "status"), ASKED.values(), ids=ASKED.keys())
def test_the_connection_stays_open_if_the_client_offers_keep_alive(
    attacked: Running, request_: bytes, status: int
) -> None:
    with attacked.line() as line:
        for _ in range(3):
            answer = line.ask(old(request_))
            assert (answer.status, answer.headers["connection"]) == (status, "keep-alive")
        assert line.ask(old(request_, "")).headers["connection"] == "close"
        assert line.at_end()


def test_pipelined_requests_are_answered_in_order(attacked: Running) -> None:
    requests = [INFER, get("/v2/health/live"), post(PATH, b"{"), INFER]
    with attacked.line() as line:
        line.socket.sendall(b"".join(map(old, requests)))
        assert [line.read().status for _ in requests] == [200, 200, 400, 200]
        assert line.ask(old(INFER)).status == 200


LAST = {
    # A proxy that does not know chunks would see another end of the body.
    "chunks": chunked(PATH, GOOD),
    "chunks in V1": chunked("/v1/models/same_fp32:predict", b'{"instances": [[1, 2]]}'),
    "chunks for the control plane": chunked("/v2/repository/index", b"{}"),
}


@pytest.mark.parametrize("request_", LAST.values(), ids=LAST.keys())
def test_a_chunked_request_closes_the_connection(attacked: Running, request_: bytes) -> None:
    with attacked.line() as line:
        answer = line.ask(old(request_) + old(INFER))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert line.at_end()


@pytest.mark.parametrize("request_", [INFER, get("/v2/health/live")])
@pytest.mark.parametrize("options", ["close", "keep-alive, close", "TE"])
def test_other_options_do_not_keep_the_connection_open(
    attacked: Running, request_: bytes, options: str
) -> None:
    with attacked.line() as line:
        answer = line.ask(old(request_, options) + old(INFER))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert line.at_end()


def test_no_100_continue_is_sent(attacked: Running) -> None:
    """An HTTP/1.0 client would mistake 100 Continue for the answer."""
    with attacked.line() as line:
        line.socket.sendall(old(post(PATH, GOOD, Expect="100-continue")))
        assert line.socket.recv(12) == b"HTTP/1.1 200"


def test_a_body_that_is_too_large_closes_the_connection(attacked: Running) -> None:
    with attacked.line() as line:
        answer = line.ask(old(post(PATH, b"", Content_Length=str(2**40))))
        assert answer.status in (400, 413) and answer.headers["connection"] == "close"


@AB.unless(shutil.which("ab"))
@pytest.mark.parametrize("path", [PATH, "/v2/models/nobody/infer", "/v2/health/ready"])
def test_ab_reuses_its_connections(attacked: Running, path: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(GOOD)
    body = [] if "health" in path else ["-p", str(tmp_path / "body"), "-T", "application/json"]
    url = f"http://{attacked.address}{path}"
    command = ["ab", "-k", "-l", "-q", "-n", "200", "-c", "4", *body, url]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.search(r"Keep-Alive requests: +200\n", printed), printed
    assert re.search(r"Failed requests: +0\n", printed), printed
