"""Requests with more rows than one run accepts, and inputs that a graph refuses."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from tests import tiny_models
from tests.engine import graphs, quantizers
from tests.engine.refused_graphs import position_table
from tests.patience import PATIENCE, until
from tests.system.process import KEY, Running, running
from tests.system.wire import post

MIB = 2**20
WIDTH = 100_000
BINARY = {"name": "y", "parameters": {"binary_data": True}}
SETTING = "max_batch_size in [batching] of model.toml"


def save(models: Path, name: str, model: Any, toml: str = "") -> None:
    graphs.save(model, models / name)
    (models / name / "model.toml").write_text(toml)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = tmp_path_factory.mktemp("limits")
    save(models, "scores", graphs.linear())
    save(models, "threaded", graphs.linear(), tiny_models.ONE_THREAD)
    save(models, "limited", graphs.linear(), "[batching]\nmax_batch_size = 64\n")
    save(models, "centred", graphs.centred())
    save(models, "whole", graphs.no_batch_out())
    save(models, "positions", position_table())
    save(models, "dynamic", quantizers.dynamic(graphs.linear(), tmp_path_factory.mktemp("q")))
    for datatype in ("BYTES", "BF16", "BOOL", "INT64"):
        tiny_models.identity(models, datatype)
    tiny_models.wide(models, WIDTH)
    with running(models, "--memory-budget", str(600 * MIB)) as server:
        yield server
        assert [line for line in server.logged() if line["level"] == "error"] == []


def infer(server: Running, model: str, datatype: str, array: Any, **more: Any) -> httpx.Response:
    data = array.reshape(-1).tolist()
    name = "ids" if model == "positions" else "x"
    given = {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}
    url = f"http://{server.address}/v2/models/{model}/infer"
    return httpx.post(url, json={"inputs": [given], **more}, timeout=PATIENCE)


def outputs(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    return np.array(output["data"]).reshape(output["shape"])


def error(answer: httpx.Response) -> str:
    assert answer.status_code == 400, answer.text
    text: str = answer.json()["error"]
    return text


def random(rows: int, width: int = 32) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, width)).astype(np.float32)


@pytest.mark.parametrize("model", ["scores", "threaded", "dynamic"])
@pytest.mark.parametrize("rows", [65, 92, 1000])
def test_a_large_request_gets_the_same_answers_as_single_rows(
    served: Running, model: str, rows: int
) -> None:
    x = random(rows)
    found = outputs(infer(served, model, "FP32", x))
    assert found.shape == (rows, 10)
    for place in (0, 63, 64, rows - 1):
        alone = outputs(infer(served, model, "FP32", x[place : place + 1]))
        np.testing.assert_allclose(found[place : place + 1], alone, rtol=1e-4, atol=1e-5)


def test_triton_and_v1_may_send_large_requests_too(served: Running) -> None:
    x = random(300)
    client = triton.InferenceServerClient(served.address)
    given = triton.InferInput("x", x.shape, "FP32").set_data_from_numpy(x)
    found = client.infer("scores", [given]).as_numpy("y")
    np.testing.assert_allclose(found, outputs(infer(served, "scores", "FP32", x)), atol=1e-6)
    url = f"http://{served.address}/v1/models/scores:predict"
    answer = httpx.post(url, json={"instances": x.tolist()})
    np.testing.assert_allclose(answer.json()["predictions"], found, atol=1e-6)


@pytest.mark.parametrize(
    ("datatype", "array"),
    [
        ("BYTES", np.array([f"text é {i}" for i in range(600)], object).reshape(200, 3)),
        ("BF16", np.arange(200, dtype=np.float32).reshape(100, 2)),
        ("BOOL", np.arange(300).reshape(100, 3) % 3 == 0),
        ("INT64", np.arange(2**60, 2**60 + 300).reshape(300, 1)),
    ],
)
def test_rows_of_every_datatype_are_returned_in_order(
    served: Running, datatype: str, array: np.ndarray
) -> None:
    found = outputs(infer(served, f"same_{datatype.lower()}", datatype, array))
    assert found.tolist() == array.tolist()


def test_a_limit_in_model_toml_is_enforced_with_advice(served: Running) -> None:
    told = error(infer(served, "limited", "FP32", random(92)))
    assert told.startswith('model "limited" version 1: 92 rows in one request, at most 64 fit; ')
    assert SETTING in told and "send fewer rows, or raise it, or remove it" in told


@pytest.mark.parametrize("model", ["centred", "whole"])
def test_rows_that_influence_each_other_are_not_cut(served: Running, model: str) -> None:
    told = error(infer(served, model, "FP32", random(92, 4)))
    assert "92 rows in one request, at most 64 fit; this model runs each request in one" in told
    assert SETTING in told and "cannot be cut" in told
    note = httpx.get(f"http://{served.address}/v2/models/{model}").json()
    assert note["parameters"]["batching_note"] in told
    assert infer(served, model, "FP32", random(64, 4)).status_code == 200


def test_the_limit_in_the_configuration_can_be_sent_back(served: Running) -> None:
    base = f"http://{served.address}/v2/models"
    for model, larger in {"scores": "cut", "limited": "refused", "centred": "refused"}.items():
        found = httpx.get(f"{base}/{model}").json()["parameters"]
        assert (found["max_batch_size"], found["larger_requests"]) == ("64", larger)
        config = httpx.get(f"{base}/{model}/config").json()
        assert config["max_batch_size"] == 64 and ("parameters" in config) is (larger == "cut")
    config = httpx.get(f"{base}/scores/config").json()
    client = triton.InferenceServerClient(served.address)
    client.load_model("scores", {"X-API-Key": KEY}, config=json.dumps(config))
    assert outputs(infer(served, "scores", "FP32", random(92))).shape == (92, 10)
    client.load_model("scores", {"X-API-Key": KEY}, config='{"max_batch_size": 16}')
    assert "at most 16 fit" in error(infer(served, "scores", "FP32", random(92)))
    client.load_model("scores", {"X-API-Key": KEY})


def test_outputs_beyond_the_memory_are_refused_with_figures(served: Running) -> None:
    answer = infer(served, "wide", "FP32", random(2000, 1))
    told = answer.json()["error"]
    assert answer.status_code == 413
    assert f"need {2000 * WIDTH * 4} bytes of memory" in told and "--memory-budget" in told
    assert "send fewer rows" in told


def test_large_requests_do_not_disturb_small_requests_or_disconnects(served: Running) -> None:
    x = random(5000)
    body = {"name": "x", "datatype": "FP32", "shape": [5000, 32], "data": x.reshape(-1).tolist()}
    request = post("/v2/models/threaded/infer", json.dumps({"inputs": [body]}).encode())
    lines = [served.line() for _ in range(2)]
    for line in lines:
        line.socket.sendall(request)
    lines[0].close()
    stop = threading.Event()

    def small(_: int) -> int:
        count = 0
        while not stop.is_set() and count < 20:
            found = outputs(infer(served, "threaded", "FP32", x[:1]))
            assert found.shape == (1, 10)
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(small, range(4)))
    answer = lines[1].read()
    lines[1].close()
    assert answer.status == 200 and counts == [20] * 4
    found = np.array(answer.json["outputs"][0]["data"]).reshape(5000, 10)
    alone = outputs(infer(served, "threaded", "FP32", x[4999:]))
    np.testing.assert_allclose(found[4999:], alone, rtol=1e-4, atol=1e-5)


def test_no_memory_stays_reserved(served: Running) -> None:
    assert infer(served, "wide", "FP32", random(100, 1), outputs=[BINARY]).status_code == 200
    lines = [served.line() for _ in range(3)]
    x = {"name": "x", "datatype": "FP32", "shape": [100, 1], "data": [1.0] * 100}
    for line in lines:
        body = json.dumps({"inputs": [x], "outputs": [BINARY]}).encode()
        line.socket.sendall(post("/v2/models/wide/infer", body))
        line.close()

    def free() -> bool:
        page = httpx.get(f"http://{served.address}/metrics").text
        return "quantserve_traffic_bytes 0.0" in page

    until(free, "memory stays reserved")


def test_the_timeout_of_a_large_request_covers_all_its_parts(served: Running) -> None:
    answer = infer(served, "threaded", "FP32", random(5000), parameters={"timeout": 1})
    told = answer.json()["error"]
    assert answer.status_code == 504 and "of 5000 waited" in told and "allowed 0.001 ms" in told


def test_inputs_longer_than_the_position_table_are_client_errors(served: Running) -> None:
    good, long = np.ones((1, 8), np.int64), np.ones((1, 12), np.int64)
    told = error(infer(served, "positions", "INT64", long))
    assert 'input "ids" has 12 on axis 1, 8 would fit' in told and 'Add "node_1"' in told
    told = error(infer(served, "positions", "INT64", good * 25))
    assert "idx=25" in told and 'input "ids" holds 25 at [0, 0]' in told
    many = np.ones((200, 8), np.int64)
    many[150, 3] = 25
    told = error(infer(served, "positions", "INT64", many))
    assert "of 200: the model refuses" in told and 'input "ids" holds 25' in told


def test_a_bad_row_fails_only_its_request(served: Running) -> None:
    """Good and bad requests share batches; a failed batch is run again one request at a time."""
    good, bad = np.ones((1, 8), np.int64), np.full((1, 8), 25, np.int64)

    def one(place: int) -> int:
        return infer(served, "positions", "INT64", bad if place % 5 == 0 else good).status_code

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(one, range(100)))
    assert found == [400 if place % 5 == 0 else 200 for place in range(100)]
