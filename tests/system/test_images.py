"""Images over a socket: common clients, bodies in parts, several workers."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tritonclient.http as triton

from tests.pictures import SIDE, echo, encoded, picture, reference
from tests.system.process import Running, running
from tests.system.test_workers import serving
from tests.system.wire import Line, get, post

PHOTO = encoded(picture(640, 480), "JPEG")
WANT = reference(PHOTO)
TOLERANCE = 1e-5


def infer(server: Running, images: list[bytes], binary: bool) -> np.ndarray:
    """Return the answer that tritonclient receives."""
    given = triton.InferInput("image", [len(images)], "BYTES")
    values = images if binary else [base64.b64encode(each) for each in images]
    given.set_data_from_numpy(np.array(values, dtype=object), binary_data=binary)
    with triton.InferenceServerClient(server.address) as client:
        return client.infer("echo", [given]).as_numpy("y")


def test_tritonclient_sends_images(tmp_path: Path) -> None:
    echo(tmp_path)
    with running(tmp_path) as server:
        for binary in (True, False):
            found = infer(server, [PHOTO, PHOTO], binary)
            np.testing.assert_allclose(found, [WANT, WANT], atol=TOLERANCE)
        jpeg = post("/v1/models/echo:predict", PHOTO, Content_Type="image/jpeg")
        answer = server.ask(jpeg)
        assert answer.status == 200, answer.body
        np.testing.assert_allclose(answer.json["predictions"][0], WANT, atol=TOLERANCE)
        shown = server.ask(get("/v2/models/echo")).json["parameters"]
        assert shown["image_size"] == f"{SIDE}x{SIDE}"


def test_a_broken_image_fails_alone(tmp_path: Path) -> None:
    echo(tmp_path)
    with running(tmp_path) as server, server.line() as line:
        for _ in range(3):
            broken = post("/v2/models/echo/infer", PHOTO[:5000], Content_Type="image/jpeg")
            answer = line.ask(broken)
            assert answer.status == 400 and "truncated" in answer.json["error"]
            good = line.ask(post("/v2/models/echo/infer", PHOTO, Content_Type="image/jpeg"))
            assert good.status == 200
        page = server.ask(get("/metrics")).body.decode()
        assert 'quantserve_images_decoded_total{model="echo",version="1"} 3.0' in page


def test_two_workers_serve_images_and_sum_their_metrics(tmp_path: Path) -> None:
    echo(tmp_path)
    body = json.dumps({"instances": [{"b64": base64.b64encode(PHOTO).decode()}]}).encode()

    def ask(port: int) -> None:
        with Line(port) as line:
            for _ in range(3):
                answer = line.ask(post("/v1/models/echo:predict", body))
                assert answer.status == 200, answer.body
                np.testing.assert_allclose(answer.json["predictions"][0], WANT, atol=TOLERANCE)

    with serving(tmp_path) as it:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(ask, [it.port] * 6))
        label = '{model="echo",version="1"}'
        assert it.metric(f"quantserve_images_decoded_total{label}") == 18
        assert it.metric(f"quantserve_image_decoding_seconds_total{label}") > 0
