"""Triton's client over HTTP and gRPC: the same requests return the same answers."""

import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests import pictures, tiny_models, tiny_texts
from tests.patience import PATIENCE, until
from tests.system.clients import Client, connected
from tests.system.process import KEY, ROOT, running
from tests.system.wire import free_port, get

GOLDEN = np.load(ROOT / "models/digits/golden.npz")
SHOWN = {"x-api-key": KEY}
DTYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32,
    "UINT64": np.uint64, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32,
    "INT64": np.int64, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip


@pytest.fixture(scope="module", params=[1, 2])
def addresses(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of the digits, tiny models, and one each for texts and images; with one worker and with
    two."""
    models = tmp_path_factory.mktemp("clients")
    shutil.copytree(ROOT / "models/digits", models / "digits")
    for datatype in tiny_models.DATATYPES:
        tiny_models.identity(models, datatype)
    tiny_texts.embedder(models / "sentences/1")
    pictures.echo(models)
    port = free_port()
    flags = ["--grpc-port", str(port), "--workers", str(request.param)]
    with running(models, *flags, supervised=request.param > 1) as served:
        yield {"http": served.address, "grpc": f"127.0.0.1:{port}"}


@pytest.fixture(params=["http", "grpc"])
def asking(request: Any, addresses: dict[str, str]) -> Iterator[Client]:
    with connected(request.param, addresses[request.param]) as client:
        yield client


def test_health_and_metadata(asking: Client) -> None:
    client = asking.client
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("digits") and client.is_model_ready("digits", "2")
    assert not client.is_model_ready("digits", "9") and not client.is_model_ready("nobody")
    server = asking.told(client.get_server_metadata())
    assert server["name"] == "quantserve" and "binary_tensor_data" in server["extensions"]
    model = asking.told(client.get_model_metadata("digits"))
    assert [int(length) for length in model["inputs"][0]["shape"]] == [-1, 1, 28, 28]
    config = asking.told(client.get_model_config("digits"))
    config = config if asking.json else config["config"]
    assert [int(length) for length in config["input"][0]["dims"]] == [1, 28, 28]
    assert config["input"][0]["data_type"] == "TYPE_FP32" and config["max_batch_size"] == 64


def test_texts_are_sent_in_place_of_tokens(asking: Client) -> None:
    texts = np.array(["A dog.", "The sea is blue, as far as one can see."], object)
    answer = asking.client.infer("sentences", [asking.given("text", texts, "BYTES")])
    found = answer.as_numpy("embedding")
    assert len(found) == 2 and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for place in (0, 1):
        alone = asking.given("text", texts[place : place + 1], "BYTES")
        same = asking.client.infer("sentences", [alone]).as_numpy("embedding")
        assert np.allclose(same, found[place : place + 1], atol=1e-5)


def test_images_are_sent_in_place_of_pixels(asking: Client) -> None:
    picture = pictures.picture()
    images = np.array([pictures.encoded(picture, form) for form in ("JPEG", "PNG")], object)
    found = asking.client.infer("echo", [asking.given("image", images, "BYTES")]).as_numpy("y")
    assert found.shape == (2, 3, pictures.SIDE, pictures.SIDE)
    assert np.abs(found[0] - found[1]).mean() < 0.1  # what JPEG loses


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("named", [True, False])
def test_digits_are_classified(asking: Client, compression: str | None, named: bool) -> None:
    images = GOLDEN["inputs/image"][:16]
    wanted = [asking.module.InferRequestedOutput("probabilities")] if named else None
    keyword = "request_compression_algorithm" if asking.json else "compression_algorithm"
    result = asking.client.infer(
        "digits",
        [asking.given("image", images, "FP32")],
        outputs=wanted,
        request_id="7",
        **{keyword: compression},
    )
    assert result.as_numpy("probabilities").argmax(1).tolist() == GOLDEN["labels"][:16].tolist()
    response = asking.told(result.get_response())
    assert response["id"] == "7"
    assert (response["model_name"], response["model_version"]) == ("digits", "2")


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_round_trips(asking: Client, datatype: str) -> None:
    x = np.array([[0, 1, 1, 0, 1]] * 3).astype(DTYPES[datatype])
    found = asking.client.infer(f"same_{datatype.lower()}", [asking.given("x", x, datatype)])
    np.testing.assert_array_equal(found.as_numpy("y"), x)


def test_strings_round_trip(asking: Client) -> None:
    x = np.array([["é".encode(), b""], [b"a" * 300, b"b"]], np.object_)
    found = asking.client.infer("same_bytes", [asking.given("x", x, "BYTES")])
    assert found.as_numpy("y").tolist() == x.tolist()


def test_empty_and_large_tensors_round_trip(asking: Client) -> None:
    for shape in ((0, 3), (1000, 1000)):
        x = np.random.default_rng(7).random(shape, np.float32)
        found = asking.client.infer("same_fp32", [asking.given("x", x, "FP32")])
        np.testing.assert_array_equal(found.as_numpy("y"), x)


def test_classification_returns_the_best_classes(asking: Client) -> None:
    image = asking.given("image", GOLDEN["inputs/image"][:2], "FP32")
    wanted = [asking.module.InferRequestedOutput("probabilities", class_count=3)]
    found = asking.client.infer("digits", [image], outputs=wanted).as_numpy("probabilities")
    assert found.shape == (2, 3)
    assert [int(row[0].split(b":")[1]) for row in found] == GOLDEN["labels"][:2].tolist()


Ask = Callable[[Client], Any]
BAD: list[tuple[Ask, int, str, str]] = [
    (lambda c: infer(c, "nobody", "x", (1, 2)), 404, "NOT_FOUND", '"nobody"'),
    (lambda c: infer(c, "same_fp32", "z", (1, 2)), 400, "INVALID_ARGUMENT", '"z"'),
    (lambda c: infer(c, "same_fp32", "x", (2,)), 400, "INVALID_ARGUMENT", "takes FP32"),
    (lambda c: infer(c, "same_fp32", "x", (1, 2), sequence_id=7), 400, "INVALID_ARGUMENT", "sequ"),
    (lambda c: c.client.get_model_metadata("digits", "77"), 404, "NOT_FOUND", "77"),
    (lambda c: c.client.get_model_config("nobody"), 404, "NOT_FOUND", "nobody"),
    (lambda c: c.client.load_model("digits"), 401, "UNAUTHENTICATED", "admin key"),
    (lambda c: c.client.load_model("no", headers=SHOWN), 404, "NOT_FOUND", '"no"'),
    (lambda c: c.client.get_system_shared_memory_status(), 501, "UNIMPLEMENTED", "shared"),
    (
        lambda c: c.client.load_model("digits", headers=SHOWN, config='{"ensemble_scheduling":{}}'),
        400,
        "INVALID_ARGUMENT",
        "ensemble_scheduling",
    ),
]


def infer(asking: Client, model: str, name: str, shape: tuple[int, ...], **more: Any) -> Any:
    return asking.client.infer(
        model, [asking.given(name, np.zeros(shape, np.float32), "FP32")], **more
    )


@pytest.mark.parametrize(("ask", "status", "code", "text"), BAD)
def test_errors_have_the_status_that_the_client_expects(
    asking: Client, ask: Ask, status: int, code: str, text: str
) -> None:
    with pytest.raises(InferenceServerException) as failed:
        ask(asking)
    expected = str(status) if asking.json else f"StatusCode.{code}"
    assert failed.value.status() == expected and text in str(failed.value)


def test_statistics_count_requests(asking: Client) -> None:
    def successes() -> tuple[int, int]:
        found = asking.told(asking.client.get_inference_statistics("same_int8"))
        [stats] = found["model_stats"]
        success = int(stats["inference_stats"]["success"].get("count", 0))
        return success, int(stats.get("inference_count", 0))

    before = successes()
    x = np.zeros((3, 2), np.int8)
    asking.client.infer("same_int8", [asking.given("x", x, "INT8")])
    assert successes() == (before[0] + 1, before[1] + 3)


def test_models_are_unloaded_and_loaded(asking: Client) -> None:
    asking.client.unload_model("same_fp64", headers=SHOWN)
    assert not asking.client.is_model_ready("same_fp64")
    config = '{"max_batch_size": 16}'
    asking.client.load_model("same_fp64", headers=SHOWN, config=config)
    assert asking.client.is_model_ready("same_fp64")
    found = asking.told(asking.client.get_model_config("same_fp64"))
    assert (found if asking.json else found["config"])["max_batch_size"] == 16
    index = asking.told(asking.client.get_model_repository_index())
    states = {(e["name"], e["state"]) for e in (index if asking.json else index["models"])}
    assert ("same_fp64", "READY") in states


def test_log_and_trace_settings_are_readable(asking: Client) -> None:
    logs = asking.told(asking.client.get_log_settings())
    traces = asking.told(asking.client.get_trace_settings())
    if asking.json:
        assert logs["log_info"] is True and traces["trace_level"] == ["OFF"]
    else:
        assert logs["settings"]["log_info"] == {"bool_param": True}
        assert traces["settings"]["trace_level"] == {"value": ["OFF"]}


def test_a_stream_returns_answers_and_errors(addresses: dict[str, str]) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    x = tritonclient.grpc.InferInput("x", [1, 2], "FP32")
    with tritonclient.grpc.InferenceServerClient(addresses["grpc"]) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(20):
            x.set_data_from_numpy(np.full((1, 2), number, np.float32))
            client.async_stream_infer("same_fp32", [x], request_id=str(number))
        client.async_stream_infer("nobody", [x])
        found = [answers.get(timeout=PATIENCE) for _ in range(21)]
        client.stop_stream()
    assert [r.get_response().id for r, _ in found[:20]] == [str(n) for n in range(20)]
    assert [r.as_numpy("y")[0, 0] for r, _ in found[:20]] == list(range(20))
    assert '"nobody"' in str(found[20][1])


def test_the_start_fails_if_the_port_is_in_use(tmp_path: Path) -> None:
    tiny_models.identity(tmp_path, "FP32")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for flags in ([], ["--workers", "2"]):
            done = subprocess.run(
                [sys.executable, "-m", "service", "serve", "--models", str(tmp_path), "--port", "0",
                 "--grpc-port", port, *flags],
                cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
            )  # fmt: skip
            assert done.returncode == 2
            assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


def test_calls_are_served_by_another_worker_after_one_dies(tmp_path: Path) -> None:
    tiny_models.identity(tmp_path, "FP32")
    port = free_port()
    flags = ["--grpc-port", str(port), "--workers", "2"]
    x = tritonclient.grpc.InferInput("x", [1, 2], "FP32")
    x.set_data_from_numpy(np.ones((1, 2), np.float32))
    with running(tmp_path, *flags, supervised=True) as served:

        def workers() -> set[int]:
            page = served.ask(get("/metrics")).body.decode()
            found = re.findall(r"^quantserve_worker_process_id\{.*\} (\S+)$", page, re.M)
            return {int(float(each)) for each in found}

        killed = min(workers())
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            client.infer("same_fp32", [x])
            os.kill(killed, signal.SIGKILL)

            def answers() -> bool:
                with suppress(InferenceServerException):
                    return client.infer("same_fp32", [x]).as_numpy("y") is not None
                return False

            until(answers)

        def replaced() -> bool:
            with suppress(OSError, IndexError):  # the connection was the dead worker's
                return len(workers() - {killed}) == 2
            return False

        until(replaced)
