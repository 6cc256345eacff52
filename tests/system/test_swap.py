"""A real server under load while its model is swapped: no request is lost or answered wrongly."""

import http.client
import itertools
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import tritonclient.http as triton
from onnx import TensorProto, helper, numpy_helper

from tests.patience import PATIENCE, until
from tests.repositories import put, scale
from tests.system.process import KEY, ROOT, Running, running
from tests.system.wire import get

SHOWN = {"X-API-Key": KEY}
GOLDEN = np.load(ROOT / "models/digits/golden.npz")
CONNECTIONS = 4
SWAPS = 50


def call(
    connection: http.client.HTTPConnection, path: str, body: bytes = b""
) -> tuple[int, dict[str, Any]]:
    connection.request("POST", path, body, SHOWN)
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read() or b"null")


@contextmanager
def connected(address: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        yield connection
    finally:
        connection.close()


def question(row: int) -> bytes:
    image = GOLDEN["inputs/image"][row : row + 1]
    tensor = {"name": "image", "datatype": "FP32", "shape": list(image.shape)}
    return json.dumps({"inputs": [{**tensor, "data": image.ravel().tolist()}]}).encode()


class Answer(NamedTuple):
    """The times when a request was sent and answered, and the version that answered."""

    sent: float
    received: float
    version: int


@dataclass
class Load:
    """Connections that send one request after the other and keep the answers, until stopped."""

    address: str
    expected: dict[int, list[list[float]]]
    answers: list[Answer] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads)

    def met(self) -> bool:
        """True if there were enough requests to reveal errors, and both versions served."""
        both = {answer.version for answer in self.answers} == {1, 2}
        return (both and len(self.answers) > SWAPS) or bool(self.wrong)

    def _ask(self, first: int) -> None:
        rows = itertools.cycle(range(first, len(GOLDEN["labels"]), CONNECTIONS))
        with connected(self.address) as connection:
            while not self.over.is_set():
                row = next(rows)
                sent = monotonic()
                try:
                    status, answer = call(connection, "/v2/models/digits/infer", question(row))
                except (OSError, http.client.HTTPException) as error:
                    self.wrong.append(f"{type(error).__name__}: {error}")
                    return
                self._keep(row, sent, status, answer)

    def _keep(self, row: int, sent: float, status: int, answer: dict[str, Any]) -> None:
        if status != 200:
            self.wrong.append(f"{status}: {answer}")
            return
        version = int(answer["model_version"])
        got = answer["outputs"][0]["data"]
        if not np.allclose(got, self.expected[version][row], atol=1e-3):
            self.wrong.append(f"version {version}, row {row}: {got}")
        self.answers.append(Answer(sent, monotonic(), version))


class Swap(NamedTuple):
    """The times when a swap was requested and answered, and its version."""

    asked: float
    answered: float
    version: int


def late(answers: list[Answer], swaps: list[Swap]) -> list[Answer]:
    """Return the answers from a version that had stopped serving, or did not serve yet."""
    found = []
    for answer in answers:
        done = [swap for swap in swaps if swap.answered < answer.sent]
        meanwhile = [s for s in swaps if s not in done and s.asked < answer.received]
        allowed = {s.version for s in [*done[-1:], *meanwhile]} | ({2} if not done else set())
        if answer.version not in allowed:
            found.append(answer)
    return found


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "models/digits", tmp_path / "digits")
    return tmp_path


def test_no_request_is_lost_or_late_while_the_model_is_swapped(digits: Path) -> None:
    with running(digits) as server, connected(server.address) as admin:
        assert change(admin, "swap", 1).version == 1
        load = Load(server.address, {n: every_answer(admin, n) for n in (1, 2)})
        assert change(admin, "rollback").version == 2
        rows = len(GOLDEN["labels"])
        assert not np.allclose(load.expected[1], load.expected[2], atol=1e-2), rows
        swaps: list[Swap] = []
        with load.running():
            for number in itertools.count():
                if number >= SWAPS and load.met():
                    break
                back = number % 5 in (1, 2)
                swaps.append(change(admin, *(("rollback",) if back else ("swap", 1 + number % 2))))
                status, answer = call(admin, "/v2/models/digits/infer", question(0))
                assert (status, answer["model_version"]) == (200, str(swaps[-1].version))
        assert load.wrong == []
        assert late(load.answers, swaps) == []
        assert load.met()


def every_answer(connection: http.client.HTTPConnection, version: int) -> list[list[float]]:
    path = f"/v2/models/digits/versions/{version}/infer"
    answers = [call(connection, path, question(row)) for row in range(len(GOLDEN["labels"]))]
    return [answer["outputs"][0]["data"] for _, answer in answers]


def change(connection: http.client.HTTPConnection, verb: str, version: int = 0) -> Swap:
    asked = monotonic()
    body = json.dumps({"version": version} if version else {}).encode()
    status, answer = call(connection, f"/admin/models/digits/{verb}", body)
    assert status == 200, answer
    return Swap(asked, monotonic(), int(answer["to_version"]))


def test_tritons_client_loads_and_unloads(digits: Path) -> None:
    with running(digits) as server:
        client = triton.InferenceServerClient(server.address)
        client.unload_model("digits", headers=SHOWN)
        assert not client.is_model_ready("digits")
        states = {(e["state"], e["reason"]) for e in client.get_model_repository_index()}
        assert states == {("UNAVAILABLE", "unloaded")}
        with pytest.raises(triton.InferenceServerException, match="unloaded"):
            client.get_model_metadata("digits")
        client.load_model("digits", SHOWN, config='{"max_batch_size": 16}')
        assert client.get_model_config("digits")["max_batch_size"] == 16
        with pytest.raises(triton.InferenceServerException, match="ensemble_scheduling is not"):
            client.load_model("digits", SHOWN, config='{"ensemble_scheduling": {}}')
        with pytest.raises(triton.InferenceServerException, match="nobody"):
            client.load_model("nobody", SHOWN)
        assert client.is_model_ready("digits")


def test_a_signal_during_a_swap_ends_the_swap_only(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(3))
    put(tmp_path, "m", 2, scale(3))
    # So many golden rows that the gate takes longer than this test.
    np.savez(tmp_path / "m/golden.npz", **{"inputs/x": np.ones((2_000_000, 2), np.float32)})
    (tmp_path / "m/serving.toml").write_text("version = 1")
    put(tmp_path, "n", 1, scale(5))
    (tmp_path / "m/1/golden.npz").write_bytes(small_golden(tmp_path))
    (tmp_path / "n/model.toml").write_text("[batching]\nmax_queue_delay = 1.0\n")
    with running(tmp_path) as server, connected(server.address) as watcher:
        watcher.request("GET", "/admin/models/m/events", headers=SHOWN)
        events = watcher.getresponse()
        replies: list[tuple[int, dict[str, Any]]] = []
        asking = [
            threading.Thread(target=ask, args=(server, replies, path, body))
            for path, body in (
                ("/admin/models/m/swap", b'{"version": 2}'),
                ("/v2/models/n/infer", ONE),
            )
        ]
        asking[0].start()
        read_until(events, '"phase": "golden", "status": "started"')
        asking[1].start()
        until(lambda: replies or in_flight(server, "n"), "the request has not been admitted")
        server.process.send_signal(signal.SIGTERM)
        rest = events.read().decode()
        for thread in asking:
            thread.join(PATIENCE)
        answers = dict(replies)
    assert sorted(answers) == [200, 503]
    assert answers[503]["error"] == "the server is shutting down; nothing was changed"
    assert answers[200]["outputs"][0]["data"] == [5, 5]
    assert rest.endswith("\n")
    assert (tmp_path / "m/serving.toml").read_text() == "version = 1"


ONE = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 1]}]}
).encode()


def small_golden(scratch: Path) -> bytes:
    path = scratch / ".golden.npz"
    np.savez(path, **{"inputs/x": np.ones((4, 2), np.float32)})
    return path.read_bytes()


def in_flight(server: Running, model: str) -> float:
    """Count the requests for a model that were admitted and have no answer yet."""
    page = server.ask(get("/metrics")).body.decode()
    name = f'quantserve_in_flight_requests{{model="{model}",'
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))


def ask(server: Running, replies: list[tuple[int, dict[str, Any]]], path: str, body: bytes) -> None:
    with connected(server.address) as connection:
        replies.append(call(connection, path, body))


def read_until(events: http.client.HTTPResponse, text: str) -> None:
    for line in events:
        if text in line.decode():
            return
    raise AssertionError(f"the stream ended without {text}")


def test_a_watcher_that_disconnects_does_not_block_the_server(digits: Path) -> None:
    with running(digits) as server, connected(server.address) as admin:
        with connected(server.address) as watcher:
            watcher.request("GET", "/admin/models/digits/events", headers=SHOWN)
            events = watcher.getresponse()
            assert events.headers["content-type"].startswith("text/event-stream")
            assert events.readline() == b": watching\n"
        change(admin, "swap", 1)
        change(admin, "rollback")
        with connected(server.address) as watcher:
            watcher.request("GET", "/admin/models/digits/events", headers=SHOWN)
            events = watcher.getresponse()
            change(admin, "rollback")
            read_until(events, '"old": 2, "new": 1, "cause": "rollback"')


def test_in_poll_mode_two_servers_follow_the_same_folder(digits: Path) -> None:
    with (
        running(digits, "--poll", "0.05") as one,
        running(digits, "--poll", "0.05") as other,
        connected(one.address) as admin,
        connected(other.address) as client,
    ):
        change(admin, "swap", 1)

        def serving() -> str:
            _, answer = call(client, "/v2/models/digits/infer", question(0))
            return str(answer["model_version"])

        until(lambda: serving() == "1", "the other server has not followed")


def test_memory_is_freed_after_swaps(tmp_path: Path) -> None:
    for number in (1, 2):
        put(tmp_path, "digits", number, wide(number))
    with running(tmp_path) as server, connected(server.address) as admin:
        held = []
        for number in range(12):
            change(admin, "swap", 1 + number % 2)
            # A swap with other settings loads the version anew, though it is still warm.
            settings = f"[batching]\nmax_batch_size = 2\nmax_queue_size = {100 + number}\n"
            (tmp_path / "digits/model.toml").write_text(settings)
            held.append(server.resident_bytes())
        # The last version is freed after the swap is answered. A leak of one version for each swap
        # would add 16 MB each time.
        most = 1.1 * min(held[:6])
        until(lambda: server.resident_bytes() < most, f"{[round(size / 1e6) for size in held]} MB")


def wide(seed: int) -> bytes:
    """A graph with 16 MB of weights."""
    rng = np.random.default_rng(seed)
    names = ["x", "a", "b", "c", "y"]
    weights = [(rng.standard_normal((1024, 1024)) / 32).astype(np.float32) for _ in names[1:]]
    pairs = zip(names, names[1:], strict=False)
    nodes = [helper.make_node("MatMul", [old, f"w{new}"], [new]) for old, new in pairs]
    shape = ["batch", 1024]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(w, f"w{n}") for w, n in zip(weights, names[1:], strict=True)],
    )
    opsets = [helper.make_opsetid("", 17)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    result: bytes = model.SerializeToString()
    return result
