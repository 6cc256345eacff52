"""The shipped digit model over HTTP, through Triton's own client and raw requests."""

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "models/digits/example.json").read_bytes()
GOLDEN = np.load(ROOT / "models/digits/golden.npz")


def call(url: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return reply.status, json.loads(reply.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture
def client(server: str) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(server)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_digits_are_classified(
    client: triton.InferenceServerClient, binary: bool, compression: str | None
) -> None:
    images = GOLDEN["inputs/image"][:16]
    given = triton.InferInput("image", images.shape, "FP32")
    given.set_data_from_numpy(images, binary_data=binary)
    wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
    result = client.infer(
        "digits",
        [given],
        outputs=wanted,
        request_id="7",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    probabilities = result.as_numpy("probabilities")
    assert probabilities.argmax(1).tolist() == GOLDEN["labels"][:16].tolist()
    assert result.get_response()["id"] == "7"


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("digits")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("digits")["inputs"][0]["shape"] == [-1, 1, 28, 28]
    assert client.get_model_config("digits")["input"][0]["dims"] == [1, 28, 28]
    states = {each["name"]: each["state"] for each in client.get_model_repository_index()}
    assert states["digits"] == "READY"
    assert client.get_inference_statistics("digits")["model_stats"][0]["name"] == "digits"


def test_the_example_is_classified(server: str) -> None:
    status, answer = call(f"http://{server}/v2/models/digits/infer", EXAMPLE)
    assert status == 200
    (output,) = answer["outputs"]  # type: ignore[misc]
    assert output["datatype"] == "BYTES" and output["shape"] == [1, 3]


def test_v1_predicts(server: str) -> None:
    body = json.dumps({"instances": GOLDEN["inputs/image"][:2].tolist()}).encode()
    status, answer = call(f"http://{server}/v1/models/digits:predict", body)
    assert status == 200
    best = np.argmax(answer["predictions"], 1)  # type: ignore[arg-type]
    assert best.tolist() == GOLDEN["labels"][:2].tolist()


BAD = [
    ("/v2/models/nobody/infer", EXAMPLE, {}, 404, "nobody"),
    ("/v2/models/digits/versions/9/infer", EXAMPLE, {}, 404, "version 9"),
    ("/v2/models/digits/infer", b"{", {}, 400, "not JSON"),
    ("/v2/models/digits/infer", None, {}, 405, "POST"),
    ("/v2/models/digits/infer", b"x", {"Content-Encoding": "br"}, 415, "br"),
    ("/v2/models/digits/infer", b"x", {"Content-Encoding": "gzip"}, 400, "gzip"),
    ("/v2/nowhere", None, {}, 404, "/v2/nowhere"),
]


@pytest.mark.parametrize(("path", "body", "headers", "status", "text"), BAD)
def test_bad_requests_are_explained_and_the_next_one_is_served(
    server: str, path: str, body: bytes | None, headers: dict[str, str], status: int, text: str
) -> None:
    got, answer = call(f"http://{server}{path}", body, **headers)
    assert got == status
    assert text in str(answer["error"])
    assert call(f"http://{server}/v2/models/digits/infer", EXAMPLE)[0] == 200


def test_a_body_over_the_limit_is_refused(server: str) -> None:
    host, port = server.split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        connection.sendall(
            b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
        )
        assert b" 413 " in connection.recv(4096)


def test_metrics_count_requests(server: str) -> None:
    call(f"http://{server}/v2/models/digits/infer", EXAMPLE)
    with urllib.request.urlopen(f"http://{server}/metrics", timeout=PATIENCE) as reply:
        page = reply.read().decode()
    assert 'quantserve_requests_total{model="digits"' in page
    assert 'quantserve_model_info{batching="combine"' in page


def test_the_tabular_model_with_two_inputs_predicts(server: str) -> None:
    body = (ROOT / "models/diabetes/example.json").read_bytes()
    status, answer = call(f"http://{server}/v2/models/diabetes/infer", body)
    expected = np.load(ROOT / "models/diabetes/golden.npz")["outputs/progression"][0]
    assert status == 200
    (output,) = answer["outputs"]  # type: ignore[misc]
    assert output["data"] == pytest.approx(expected.tolist(), abs=10)
