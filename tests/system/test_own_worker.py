"""A model with a worker of its own: clients reach it through the other workers, over every
protocol, and its end does not affect other models."""

import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm
from openai import OpenAI
from tritonclient import grpc as triton_grpc
from tritonclient import http as triton_http
from tritonclient.utils import InferenceServerException

from tests import tiny_models, tiny_texts
from tests.engine.generation import tiny_llama
from tests.patience import PATIENCE, until
from tests.repositories import golden, put, scale
from tests.system.process import KEY, ROOT
from tests.system.test_workers import ONE, Workers, serving
from tests.system.wire import Line, chunked, free_port, get, post

OWN = "[worker]\nown = true\n"
OF_BIG = "/v2/models/big/infer"
SLOW = json.dumps(
    {"inputs": [{"name": "n", "shape": [1], "datatype": "INT64", "data": [2**40]}]}
).encode()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """``m`` in all workers that share the port, ``big`` in a worker of its own."""
    folder = tmp_path / "models"
    put(folder, "m", 1, scale(3))
    put(folder, "big", 1, scale(7))
    (folder / "big/model.toml").write_text(OWN)
    return folder


served = partial(serving, own=1)


def versions_on_one_line(it: Workers) -> tuple[str, str]:
    with Line(it.port) as line:
        return (
            line.ask(post("/v2/models/m/infer", ONE)).json["outputs"][0]["data"][0],
            line.ask(post(OF_BIG, ONE)).json["outputs"][0]["data"][0],
        )


def test_each_worker_reaches_the_model_and_only_its_own_worker_loads_it(models: Path) -> None:
    with served(models) as it:
        assert {versions_on_one_line(it) for _ in range(8)} == {(3.0, 7.0)}
        assert it.versions("big") == {"1": 8} and it.versions("m") == {"1": 8}
        log = (models.parent / "log").read_text()
        assert log.count("model big version 1 is READY") == 1
        assert log.count("model m version 1 is READY") >= 2
        name = 'quantserve_requests_total{model="big",outcome="ok",protocol="v2",version="1"}'
        assert it.metric(name) == 16
        (counted,) = it.ask(get("/v2/models/big/stats")).json["model_stats"]
        assert counted["inference_count"] == 16


def test_one_worker_and_one_for_the_model(models: Path) -> None:
    with served(models, workers=1) as it:
        assert versions_on_one_line(it) == (3.0, 7.0)


def test_a_server_whose_only_model_has_its_own_worker(models: Path) -> None:
    (models / "m/model.toml").write_text("[worker]\nown = true\n")
    with served(models, workers=1, own=2) as it:
        assert versions_on_one_line(it) == (3.0, 7.0)


def test_lists_have_the_models_of_all_workers(models: Path) -> None:
    tiny_llama.write(models / "chat/1")
    (models / "chat/model.toml").write_text(OWN)
    with served(models, own=2) as it:
        listed = it.ask(get("/v2/models")).json["models"]
        assert [each["name"] for each in listed] == ["big", "chat", "m"]
        whole, head = it.ask(get("/v2/models")), it.ask(get("/v2/models", "HEAD"))
        assert head.headers["content-length"] == whole.headers["content-length"]
        index = it.ask(post("/v2/repository/index", b"")).json
        assert [(each["name"], each["state"]) for each in index] == [
            (name, "READY") for name in ("big", "chat", "m")
        ]
        names = it.ask(get("/v1/models")).json
        assert names["models"] == ["big", "chat", "m"]
        assert [each["id"] for each in names["data"]] == ["chat"]
        stats = it.ask(get("/v2/models/stats")).json["model_stats"]
        assert [each["name"] for each in stats] == ["big", "chat", "m"]
        assert it.ask(get("/")).json["models"] == [f"/v2/models/{n}" for n in ("big", "chat", "m")]


def test_requests_of_every_form_are_passed_on(models: Path) -> None:
    with served(models, "--max-body-bytes", "100000") as it, Line(it.port) as line:
        assert line.ask(chunked(OF_BIG, ONE, 7)).json["outputs"][0]["data"] == [7, 7]
        assert line.ask(post(OF_BIG, ONE, Expect="100-continue")).status == 200
        one = line.ask(post(OF_BIG, ONE, X_Request_Id="mine"))
        assert one.headers["x-request-id"] == "mine" and "date" in one.headers
        v1 = line.ask(post("/v1/models/big:predict", b'{"instances": [[1, 2]]}'))
        assert v1.json == {"predictions": [[7.0, 14.0]]}
        assert line.ask(get("/v2/models/big/ready")).status == 200
        assert line.ask(get("/v2/models/big", "HEAD")).status == 200
        assert line.ask(get("/v2/models/%62ig")).json["name"] == "big"
        assert line.ask(get("/v2/models/big/versions/1/config?a=b")).json["name"] == "big"
        assert line.ask(get("/v2/models/big/versions/9")).status == 404
        bad = line.ask(post(OF_BIG, b"{"))
        assert bad.status == 400 and "JSON" in bad.error
        assert line.ask(get(OF_BIG)).status == 405
        assert line.ask(post(OF_BIG, ONE)).status == 200
        # The body is longer than the server accepts, and the client sends all of it first.
        with Line(it.port) as other:
            large = other.ask(post(OF_BIG, b" " * 200_000))
        assert large.status == 413 and "100000" in large.error
        lines = [Line(it.port) for _ in range(30)]
        for each in lines:
            each.socket.sendall(post(OF_BIG, ONE) * 3)
        for each in lines:
            assert [each.read().status for _ in range(3)] == [200] * 3
            each.close()


def test_a_large_body_and_a_large_answer(models: Path) -> None:
    put(models, "wide", 1, scale(2, width=2**20))
    (models / "wide/model.toml").write_text(OWN)
    row = np.arange(2**20, dtype=np.float32)[None]
    with (
        served(models, own=2) as it,
        triton_http.InferenceServerClient(f"127.0.0.1:{it.port}") as client,
    ):
        asked = triton_http.InferInput("x", row.shape, "FP32")
        for binary in (True, False):
            asked.set_data_from_numpy(row, binary_data=binary)
            found = client.infer("wide", [asked]).as_numpy("y")
            np.testing.assert_array_equal(found, 2 * row)


def test_changes_reach_the_model(models: Path) -> None:
    with served(models) as it:
        put(models, "big", 2, scale(9))
        found = it.change("/admin/models/big/swap", {"version": 2})
        assert (found.status, found.json["to_version"]) == (200, 2), found.body
        assert it.versions("big") == {"2": 8} and it.versions("m") == {"1": 8}
        assert it.metric('quantserve_swaps_total{cause="swap",model="big"}') == 1
        assert it.change("/admin/models/big/rollback", {}).json["to_version"] == 1
        golden(models / "big", 7)
        (models / "big/model.toml").write_text(OWN + "[gate.outputs.y]\nmax_abs_error = 0.1\n")
        assert it.change("/admin/models/big/swap", {"version": 2}).status == 409
        refused = it.ask(post("/admin/models/big/swap", b'{"version": 2}'))
        assert refused.status == 401
        assert it.change("/v2/repository/models/big/unload", {}).status == 200
        assert set(it.versions("big")) == {'model "big" is UNAVAILABLE: unloaded'}
        assert it.ready() and it.metric("quantserve_ready") == 1
        assert it.change("/v2/repository/models/big/load", {}).status == 200
        assert it.versions("big") == {"1": 8}
        assert it.change("/v2/logging", {"log_verbose_level": 1}).status == 200
        assert "127.0.0.1" in _audited((models.parent / "log").read_text(), "big")


def _audited(log: str, model: str) -> str:
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return str([each for each in lines if each.get("model") == model and "address" in str(each)])


def test_a_swap_under_load_loses_no_request(models: Path) -> None:
    with served(models) as it:
        put(models, "big", 2, scale(9))
        stop, answers = threading.Event(), list[str]()

        def ask() -> None:
            with Line(it.port) as line:
                while not stop.is_set():
                    found = line.ask(post(OF_BIG, ONE))
                    answers.append(
                        found.json["model_version"] if found.status == 200 else str(found.status)
                    )

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(answers) > 20, "nothing is answered")
        assert it.change("/admin/models/big/swap", {"version": 2}).status == 200
        before = len(answers)
        until(lambda: len(answers) > before + 20, "nothing is answered any more")
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert set(answers) == {"1", "2"} and answers[-1] == "2"


def test_polling_follows_the_folder_of_the_model(models: Path) -> None:
    with served(models, "--poll", "0.2") as it:
        put(models, "big", 2, scale(9))
        until(lambda: it.versions("big") == {"2": 8}, "it does not follow the folder")
        put(models, "new", 1, scale(2))
        until(lambda: it.versions("new") == {"1": 8}, "it does not follow the folder")
        shutil.rmtree(models / "big")
        until(lambda: "there is no model" in it.ask(post(OF_BIG, ONE)).body.decode(), "it stays")


def test_connections_that_the_worker_has_closed_are_not_used_again(models: Path) -> None:
    put(models, "big", 2, scale(9))
    with served(models, workers=1) as it, Line(it.port) as infer, Line(it.port) as swap:
        lines, asked = [Line(it.port) for _ in range(8)], post(OF_BIG, ONE)
        for line in lines:
            line.socket.sendall(asked)  # each request needs a connection of its own
        assert {line.read().status for line in lines} == {200}
        sleep(5.5)  # longer than the worker keeps idle connections
        assert infer.ask(asked).status == 200
        body = json.dumps({"version": 1}).encode()
        assert swap.ask(post("/admin/models/big/swap", body, X_API_Key=KEY)).status == 200
        for line in lines:
            line.close()


def test_a_slow_body_is_awaited_as_long_as_by_other_workers(models: Path) -> None:
    with served(models, "--body-timeout", "7") as it, Line(it.port) as slow, Line(it.port) as late:
        head, body = post(OF_BIG, ONE)[: -len(ONE)], ONE
        slow.socket.sendall(head)
        late.socket.sendall(head)
        sleep(6)  # longer than the worker waits for the next request of a connection
        slow.socket.sendall(body)
        assert slow.read().status == 200
        found = late.read()
        assert found.status == 408 and "7 s" in found.error


def test_its_crash_affects_no_other_model(models: Path) -> None:
    with served(models) as it:
        victim = it.workers[2]
        with ThreadPoolExecutor() as pool:
            os.kill(victim, signal.SIGKILL)
            until(lambda: victim not in it.children, "it is not dead")
            answers = list(pool.map(lambda _: it.versions("m", 4), range(4)))
        assert answers == [{"1": 4}] * 4
        until(lambda: it.versions("big") == {"1": 8}, "it did not come back")
        assert it.metric("quantserve_restarts_total") == 1
        assert it.versions("m") == {"1": 8}


def test_a_request_gets_an_error_when_the_worker_ends(models: Path) -> None:
    tiny_models.counting(models, toml=tiny_models.ONE_THREAD + OWN)
    with served(models, own=2) as it:
        busy = 'quantserve_instances_busy{model="counting",version="1"}'
        for _ in range(2):
            it.until_up(4)
            with Line(it.port) as line:
                line.socket.sendall(post("/v2/models/counting/infer", SLOW))
                until(lambda: it.metric(busy) >= 1, "it does not run")
                os.kill(it.workers[3], signal.SIGSEGV)
                found = line.read()
                assert found.status == 503 and "counting" in found.error
                # The connection is still good for other models.
                assert line.ask(post("/v2/models/m/infer", ONE)).status == 200
        it.until_up(4)
        until(
            lambda: "quarantine" in it.ask(post("/v2/models/counting/infer", SLOW)).error,
            "it is not in quarantine",
        )
        assert it.versions("big") == {"1": 8} and it.versions("m") == {"1": 8}


def test_lists_tell_that_a_worker_is_missing(models: Path) -> None:
    with served(models) as it, Line(it.port) as line:
        templates = [each for each in it.children if each not in it.workers]
        # Without the template, the replacement takes a second or more.
        for each in [*templates, it.workers[2]]:
            os.kill(each, signal.SIGKILL)
        until(lambda: it.up == 2, "its end is not noticed")
        index = line.ask(post("/v2/repository/index", b"")).json
        states = {each["name"]: (each["state"], each["reason"]) for each in index}
        found = line.ask(post(OF_BIG, ONE))
        if it.up == 2:
            assert states["big"][0] == "UNAVAILABLE" and "it is starting" in states["big"][1]
            assert found.status == 503 and '"big" has a worker of its own' in found.error
            assert found.headers["retry-after"] == "1"
        assert states["m"] == ("READY", "")
        assert line.ask(post("/v2/models/m/infer", ONE)).status == 200
        until(lambda: it.versions("big") == {"1": 8}, "it did not come back")


def test_a_client_that_disconnects_cancels_its_request(models: Path) -> None:
    tiny_models.counting(models, toml=tiny_models.ONE_THREAD + OWN)
    with served(models, own=2) as it:
        labels = 'model="counting",outcome="cancelled",protocol="v2",version="1"'
        with Line(it.port) as line:
            line.socket.sendall(post("/v2/models/counting/infer", SLOW))
            busy = 'quantserve_instances_busy{model="counting",version="1"}'
            until(lambda: it.metric(busy) == 1, "it does not run")
            # A reset: the end of the sending side alone is no disconnect.
            line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        closed = monotonic()
        counted = f"quantserve_requests_total{{{labels}}}"
        until(lambda: it.metric(counted) == 1, "it is not cancelled")
        assert monotonic() - closed < 15
        it.process.kill()  # the run would go on until its timeout


def test_sigterm_waits_for_the_answers_of_the_model(models: Path) -> None:
    tiny_llama.write(models / "chat/1", context=4096)
    (models / "chat/model.toml").write_text(OWN)
    asked = {"model": "chat", "prompt": [5] * 4, "max_tokens": 600, "ignore_eos": True}
    with served(models, own=2) as it, Line(it.port) as line:
        children = it.children
        line.socket.sendall(post("/v1/completions", json.dumps(asked).encode()))
        running = 'quantserve_num_requests_running{model="chat",version="1"}'
        until(lambda: it.metric(running) == 1, "it does not run")
        it.process.terminate()
        found = line.read()
        assert found.status == 200 and found.json["usage"]["completion_tokens"] == 600
        assert it.process.wait(PATIENCE) == 0
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_sigterm_cancels_a_swap_that_has_not_switched(models: Path) -> None:
    tiny_models.counting(models, toml=tiny_models.ONE_THREAD + OWN)
    folder = models / "counting"
    with served(models, own=2) as it, Line(it.port) as swap, Line(it.port) as events:
        watch = post("/admin/models/counting/events", b"", "GET", X_API_Key=KEY)
        events.socket.sendall(watch)
        shutil.copytree(folder / "1", folder / "2")
        # Its golden set takes longer than the test.
        np.savez(folder / "golden.npz", **{"inputs/n": [2**40], "outputs/y": [2**40]})
        body = json.dumps({"version": 2}).encode()
        swap.socket.sendall(post("/admin/models/counting/swap", body, X_API_Key=KEY))
        log, loading = models.parent / "log", "model counting version 2 is LOADING"
        until(lambda: loading in log.read_text(), "it does not load")
        signalled = monotonic()
        it.process.terminate()
        found = swap.read()
        assert found.status == 503 and "nothing was changed" in found.json["error"]
        assert it.process.wait(PATIENCE) == 0
        assert monotonic() - signalled < 10


def test_answers_say_that_the_connection_ends_while_the_server_stops(models: Path) -> None:
    with served(models, "--drain-delay", "3") as it, Line(it.port) as own, Line(it.port) as other:
        for line in (own, other):
            assert "connection" not in line.ask(post(OF_BIG, ONE)).headers
        it.process.terminate()
        for line, path in ((own, OF_BIG), (other, "/v2/models/m/infer")):
            until(
                lambda line=line, path=path: (  # type: ignore[misc]
                    line.ask(post(path, ONE)).headers.get("connection") == "close"
                ),
                "the connection does not end",
            )


def test_a_request_that_outlasts_the_shutdown_timeout_gets_an_error(models: Path) -> None:
    tiny_models.counting(models, toml=tiny_models.ONE_THREAD + OWN)
    with served(models, "--shutdown-timeout", "1", own=2) as it, Line(it.port) as line:
        line.socket.sendall(post("/v2/models/counting/infer", SLOW))
        busy = 'quantserve_instances_busy{model="counting",version="1"}'
        until(lambda: it.metric(busy) == 1, "it does not run")
        it.process.terminate()
        found = line.read()
        assert found.status == 503 and "the server stopped" in found.error
        assert it.process.wait(PATIENCE) == 1


def test_a_language_model_streams_and_stops_when_its_client_leaves(models: Path) -> None:
    tiny_llama.write(models / "chat/1", context=4096)
    (models / "chat/model.toml").write_text(OWN)
    with served(models, own=2) as it:
        client = OpenAI(base_url=f"http://127.0.0.1:{it.port}/v1", api_key="-", max_retries=0)
        whole = client.completions.create(model="chat", prompt="dog", max_tokens=8, temperature=0)
        pieces = client.completions.create(
            model="chat", prompt="dog", max_tokens=8, temperature=0, stream=True
        )
        assert "".join(each.choices[0].text for each in pieces) == whole.choices[0].text
        assert [each.id for each in client.models.list()] == ["chat"]
        long = client.completions.create(
            model="chat",
            prompt="dog",
            max_tokens=4000,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        next(iter(long))
        long.close()
        running = 'quantserve_num_requests_running{model="chat",version="1"}'
        until(lambda: it.metric(running) == 0, "it still runs")
        unknown = it.ask(post("/v1/completions", b'{"model": "none", "prompt": "a"}'))
        assert unknown.status == 404 and "none" in unknown.json["error"]["message"]
        assert it.ask(post("/v1/completions", b"{")).status == 400
        (path,) = ["/v2/models/chat/generate"]
        found = it.ask(post(path, b'{"text_input": "dog", "parameters": {"max_tokens": 4}}'))
        assert found.status == 200 and found.json["model_name"] == "chat"


def test_teis_routes_find_the_only_model_with_the_task(models: Path) -> None:
    tiny_texts.embedder(models / "emb/1")
    tiny_texts.reranker(models / "rank/1")
    (models / "emb/model.toml").write_text(OWN)
    with served(models, own=2) as it:
        embed, texts = b'{"inputs": ["dog"]}', b'{"query": "dog", "texts": ["sea"]}'
        found = it.ask(post("/embed", embed))
        assert found.status == 200 and len(found.json[0]) == tiny_texts.WIDTH
        assert it.ask(post("/rerank", texts)).status == 200
        missing = it.ask(post("/predict", embed))
        assert missing.status == 503 and "classification" in missing.json["error"]
        shutil.copytree(models / "emb/1", models / "other/1")
        assert it.change("/v2/repository/models/other/load", {}).status == 200
        several = it.ask(post("/embed", embed))
        assert several.status == 400 and '"emb", "other"' in several.json["error"]
        assert it.ask(post("/embed", b'{"model": "other", "inputs": "a"}')).status == 200


def test_grpc_reaches_the_model(models: Path) -> None:
    port = free_port()
    with (
        served(models, "--grpc-port", str(port)) as it,
        triton_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        asked = triton_grpc.InferInput("x", [1, 2], "FP32")
        asked.set_data_from_numpy(np.array([[1, 2]], np.float32))
        for name, factor in (("big", 7), ("m", 3)):
            found = client.infer(name, [asked], request_id="mine")
            np.testing.assert_array_equal(found.as_numpy("y"), [[factor, 2 * factor]])
            assert found.get_response().id == "mine"
            assert client.is_model_ready(name)
            assert client.get_model_metadata(name).name == name
        assert sorted(each.name for each in client.get_model_repository_index().models) == [
            "big",
            "m",
        ]
        wrong = triton_grpc.InferInput("z", [1, 2], "FP32")
        wrong.set_data_from_numpy(np.array([[1, 2]], np.float32))
        with pytest.raises(InferenceServerException, match='"z"') as caught:
            client.infer("big", [wrong])
        assert "INVALID_ARGUMENT" in str(caught.value.status())
        told = list[Any]()
        client.start_stream(lambda result, error: told.append((result, error)))
        for name in ("big", "m", "big"):
            client.async_stream_infer(name, [asked])
        client.async_stream_infer("big", [wrong])
        until(lambda: len(told) == 4, "no answer")
        client.stop_stream()
        assert [float(each.as_numpy("y")[0, 0]) for each, _ in told[:3]] == [7, 3, 7]
        assert '"z"' in str(told[3][1])
        name = 'quantserve_requests_total{model="big",outcome="ok",protocol="grpc",version="1"}'
        assert it.metric(name) == 3
        put(models, "big", 2, scale(9))
        client.load_model("big", headers={"x-api-key": KEY})
        assert it.versions("big") == {"2": 8}


def test_shared_memory_is_registered_in_all_workers(models: Path) -> None:
    key = f"qs-own-{os.getpid()}"
    handle = shm.create_shared_memory_region("r", key, 16, create_only=True)
    try:
        shm.set_shared_memory_region(handle, [np.array([[1, 2]], np.float32)])
        with (
            served(models, "--shared-memory", "qs-own-") as it,
            triton_http.InferenceServerClient(f"127.0.0.1:{it.port}") as client,
        ):
            client.register_system_shared_memory("r", key, 16)
            for name, factor in (("big", 7), ("m", 3)):
                asked = triton_http.InferInput("x", [1, 2], "FP32")
                asked.set_shared_memory("r", 8)
                found = client.infer(name, [asked]).as_numpy("y")
                np.testing.assert_array_equal(found, [[factor, 2 * factor]])
            client.unregister_system_shared_memory("r")
            with pytest.raises(InferenceServerException, match="r"):
                client.infer("big", [asked])
    finally:
        shm.destroy_shared_memory_region(handle)


def test_clients_cannot_send_headers_of_workers(models: Path) -> None:
    port = free_port()
    with served(models, "--grpc-port", str(port)) as it:
        found = it.ask(post(OF_BIG, ONE, X_Quantserve_Grpc_Seconds="1"))
        assert found.status == 200 and found.json["model_name"] == "big"


def test_a_server_without_a_supervisor_serves_the_model_itself(models: Path) -> None:
    command = [sys.executable, "-m", "service", "serve", "--models", str(models), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--no-supervisor"], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stderr is not None and process.stdout is not None
        found = b""
        end = monotonic() + PATIENCE
        while b"[worker] own = true" not in found and monotonic() < end:
            found += process.stderr.readline()
        assert re.search(rb'model \\"big\\": \[worker\] own = true is applied', found)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)
