"""Servers with little memory: requests that do not fit are refused, others are not affected."""

import json
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests import tiny_models
from tests.system.process import ROOT, Running, running, start
from tests.system.wire import Answer, Line, chunked, get, post

MIB = 2**20
SAME, WIDE = "/v2/models/same_fp32/infer", "/v2/models/wide/infer"
LENGTH = "Inference_Header_Content_Length"
TINY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}
).encode()
LARGE = json.dumps({**json.loads(TINY), "parameters": {"binary_data_output": True}}).encode()
"""Asks ``wide`` for 8 MiB."""


def binary(megabytes: int) -> bytes:
    size = megabytes * MIB
    x = {"name": "x", "datatype": "FP32", "shape": [1, size // 4]}
    head = json.dumps({"inputs": [x | {"parameters": {"binary_data_size": size}}]}).encode()
    return post(SAME, head + bytes(size), **{LENGTH: str(len(head))})


def folder_of(models: Path) -> Path:
    tiny_models.identity(models, "FP32")
    tiny_models.wide(models, 2 * MIB)
    alone = tiny_models.ONE_THREAD + "[batching]\nmax_batch_size = 1\n"
    for name in ("wide", "same_fp32"):
        (models / name / "model.toml").write_text(alone)
    return models


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with 256 MiB, of which a little less than 100 are for requests."""
    models = folder_of(tmp_path_factory.mktemp("tight"))
    with running(models, "--memory-budget", str(256 * MIB), "--body-timeout", "10") as served:
        yield served
        assert [line for line in served.logged() if line["level"] == "error"] == []


def metric(served: Running, name: str) -> float:
    page = served.ask(get("/metrics")).body.decode()
    [line] = [s for s in page.splitlines() if s.startswith(f"{name} ") or s.startswith(f"{name}{{")]
    return float(line.split()[-1])


def settled(served: Running) -> None:
    """Wait until no memory is reserved."""
    pause = threading.Event()
    for _ in range(100):
        if metric(served, "quantserve_traffic_bytes") == 0:
            return
        pause.wait(0.1)
    raise AssertionError(metric(served, "quantserve_traffic_bytes"))


def head_of(request: bytes) -> bytes:
    return request[: request.index(b"\r\n\r\n") + 4]


def test_a_body_without_room_is_refused_before_it_is_read(tight: Running) -> None:
    """Three bodies are announced, of which two fit together; none is sent."""
    # A body counts three times. How much room there is depends on the size of an idle server.
    room = metric(tight, 'quantserve_memory_share_bytes{share="traffic"}')
    megabytes = int(0.4 * room / 3 / MIB)
    announced = head_of(binary(megabytes))
    with ExitStack() as stack:
        lines = [stack.enter_context(tight.line()) for _ in range(3)]
        for line in lines:
            line.socket.sendall(announced)
        refused = lines[2].read()
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "(--memory-budget): try again" in refused.error
        assert lines[2].at_end()
        assert tight.ask(post(SAME, TINY)).status == 200
        assert metric(tight, "quantserve_traffic_bytes") >= 2 * 3 * megabytes * MIB
    settled(tight)
    assert metric(tight, "quantserve_traffic_refusals_total") >= 1


def test_a_body_that_can_never_fit_is_refused_with_413(tight: Running) -> None:
    refused = tight.ask(head_of(binary(60)))
    assert refused.status == 413
    assert "are available for requests (--memory-budget)" in refused.error
    settled(tight)


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'"",', b"7,"])
@pytest.mark.parametrize("way", [post, chunked])
def test_a_body_is_counted_by_its_decoded_objects(tight: Running, unit: bytes, way: object) -> None:
    """12 MiB of text would become objects several times larger than the memory for requests."""
    body = b'{"inputs":[' + unit * (12 * MIB // len(unit)) + b"1]}"
    request = post(SAME, body) if way is post else chunked(SAME, body, MIB)
    with tight.line() as line:
        assert answer_while_sending(line, request).status in (413, 503)
    assert tight.ask(post(SAME, TINY)).status == 200
    assert tight.resident_bytes() < 350 * MIB
    settled(tight)


def answer_while_sending(line: Line, request: bytes) -> Answer:
    sender = threading.Thread(target=send, args=(line.socket, request), daemon=True)
    sender.start()
    answer = line.read()
    line.close()
    sender.join()
    return answer


def send(line: socket.socket, request: bytes) -> None:
    with suppress(OSError):  # it was refused
        line.sendall(request)


def test_ordinary_json_numbers_are_accepted(tight: Running) -> None:
    count = MIB // 4
    x = {"name": "x", "datatype": "FP32", "shape": [1, count], "data": [0.12345678] * count}
    answer = tight.ask(post(SAME, json.dumps({"inputs": [x]}).encode()))
    assert answer.status == 200
    settled(tight)


def test_unread_answers_are_dropped_for_new_ones(tight: Running) -> None:
    """A few of thirty unread answers of 8 MiB are kept, then dropped for clients that read."""
    with ExitStack() as stack:
        silent = [stack.enter_context(tight.line()) for _ in range(30)]
        for line in silent:
            line.socket.sendall(post(WIDE, LARGE))
            assert tight.ask(post(SAME, TINY)).status == 200
        pause = threading.Event()
        for _ in range(100):
            pause.wait(0.1)
            if metric(tight, 'quantserve_in_flight_requests{model="wide",version="1"}') == 0:
                break
        assert tight.resident_bytes() < 350 * MIB
        pause.wait(1.2)  # after which unread answers may be dropped
        for _ in range(10):
            with tight.line() as line:
                answer = line.ask(post(WIDE, LARGE))
            assert answer.status == 200 and len(answer.body) > 8 * MIB
        assert metric(tight, "quantserve_traffic_bytes") <= metric(
            tight, 'quantserve_memory_share_bytes{share="traffic"}'
        )
    settled(tight)


def test_a_version_that_does_not_fit_is_refused_with_figures(tmp_path: Path) -> None:
    """The process itself uses more than 64 MiB."""
    models = folder_of(tmp_path)
    with running(models, "--memory-budget", str(64 * MIB), "--allow-empty") as served:
        said = served.ask(post("/v2/repository/index", b"")).body.decode()
        assert "memory: bytes of the process" in said
        assert served.ask(post(SAME, TINY)).status == 503


CRASHES = [-11, -6]


def test_a_limited_address_space_does_not_end_the_process(tmp_path: Path) -> None:
    """Bodies and answers that do not fit are refused; the process does not die."""
    models = folder_of(tmp_path)
    size = address_space(models, tmp_path / "log") + 400 * MIB
    script = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_AS, ({size}, {size}));"
        "from service.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", script, "serve", "--no-supervisor", "--port", "0"]
    with (tmp_path / "log2").open("w") as log:
        process = subprocess.Popen(
            [*command, "--models", str(models)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        port = port_of(process)
        body = b'{"inputs":[' + b"0.5," * (15 * MIB) + b"1]}"
        statuses = set()
        with ExitStack() as stack:
            silent = [stack.enter_context(Line(port)) for _ in range(20)]
            for line in silent:
                line.socket.sendall(post(WIDE, LARGE))
            for request in (post(SAME, body), chunked(SAME, body, MIB), binary(60)) * 2:
                with Line(port) as line:
                    statuses.add(answer_while_sending(line, request).status)
        with Line(port) as line:
            assert line.ask(post(SAME, TINY)).status == 200
        assert statuses <= {413, 503}
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(60) not in CRASHES
        process.stdout.close()


def address_space(models: Path, log: Path) -> int:
    """Return the address space of a server that is ready."""
    process = start(models, log, "--port", "0")
    assert process.stdout is not None
    try:
        port_of(process)
        pages = Path(f"/proc/{process.pid}/statm").read_text().split()[0]
        return int(pages) * resource.getpagesize()
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def port_of(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if "serving at http://" in line:
            return int(line.partition("http://")[2].partition(",")[0].rpartition(":")[2])
    raise AssertionError("not ready")
