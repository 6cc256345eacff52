"""Images in every form of request, through the whole application."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.inprocess import Served, serve
from tests.pictures import (
    SIDE,
    TOML,
    classifier,
    detector,
    echo,
    encoded,
    picture,
    raw_echo,
    reference,
)

TOLERANCE = 1e-5
"""For values of about 1: the reference divides twice, and the server multiplies once."""
PHOTO = encoded(picture(), "JPEG", quality=90)
TALL = encoded(picture(50, 100))


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def binary(*images: bytes, name: str = "image", **more: Any) -> dict[str, Any]:
    """A v2 request with binary tensors."""
    parts = b"".join(len(each).to_bytes(4, "little") + each for each in images)
    tensor = {
        "name": name,
        "datatype": "BYTES",
        "shape": [len(images)],
        "parameters": {"binary_data_size": len(parts)},
    }
    head = json.dumps({"inputs": [tensor], **more}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    return {"content": head + parts, "headers": length}


def in_json(*images: str, shape: list[int] | None = None) -> dict[str, Any]:
    tensor = {"name": "image", "datatype": "BYTES", "shape": shape or [len(images)]}
    return {"json": {"inputs": [{**tensor, "data": list(images)}]}}


async def ask(served: Served, path: str, **request: Any) -> httpx.Response:
    return await served.client.post(path, **request)


def values(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


async def test_every_request_form_matches_the_reference_pipeline(tmp_path: Path) -> None:
    echo(tmp_path)
    v2, v1 = "/v2/models/echo/infer", "/v1/models/echo:predict"
    b64 = {"b64": base64_of(PHOTO)}
    async with serve(tmp_path) as served:
        want = reference(PHOTO)
        for request in (
            binary(PHOTO),
            in_json(base64_of(PHOTO)),
            in_json(base64_of(PHOTO), shape=[1, 1]),
            in_json("data:image/jpeg;base64," + base64_of(PHOTO)),
            {"content": PHOTO, "headers": {"Content-Type": "image/jpeg"}},
        ):
            found = values(await ask(served, v2, **request))
            np.testing.assert_allclose(found[0], want, atol=TOLERANCE)
        for body in (
            {"instances": [b64]},
            {"instances": [{"image": b64}]},
            {"inputs": {"image": [b64]}},
            {"inputs": [b64]},
            {"inputs": b64},
        ):
            answer = await ask(served, v1, json=body)
            assert answer.status_code == 200, answer.text
            np.testing.assert_allclose(answer.json()["predictions"][0], want, atol=TOLERANCE)
        answer = await ask(served, v1, content=PHOTO, headers={"Content-Type": "image/jpeg"})
        np.testing.assert_allclose(answer.json()["predictions"][0], want, atol=TOLERANCE)


async def test_a_raw_body_is_answered_in_binary(tmp_path: Path) -> None:
    echo(tmp_path)
    async with serve(tmp_path) as served:
        headers = {"Inference-Header-Content-Length": "0"}
        answer = await ask(served, "/v2/models/echo/infer", content=PHOTO, headers=headers)
        assert answer.status_code == 200, answer.text
        at = int(answer.headers["Inference-Header-Content-Length"])
        found = np.frombuffer(answer.content[at:], np.float32).reshape(3, SIDE, SIDE)
        np.testing.assert_allclose(found, reference(PHOTO), atol=TOLERANCE)
        tensor = np.zeros((1, 3, SIDE, SIDE), np.float32).tobytes()
        answer = await ask(served, "/v2/models/echo/infer", content=tensor, headers=headers)
        assert answer.status_code == 200, "a raw tensor is still accepted"


async def test_several_images_are_rows_of_one_request(tmp_path: Path) -> None:
    echo(tmp_path)
    async with serve(tmp_path) as served:
        found = values(await ask(served, "/v2/models/echo/infer", **binary(PHOTO, TALL, PHOTO)))
        want = np.stack([reference(each) for each in (PHOTO, TALL, PHOTO)])
        np.testing.assert_allclose(found, want, atol=TOLERANCE)


async def test_long_json_is_decoded_in_the_codec_process(tmp_path: Path) -> None:
    echo(tmp_path)
    large = encoded(picture(400, 300), "PNG")
    assert len(base64_of(large)) > 32 * 1024, "otherwise it is decoded in this process"
    async with serve(tmp_path) as served:
        for _ in range(2):
            found = values(await ask(served, "/v2/models/echo/infer", **in_json(base64_of(large))))
            np.testing.assert_allclose(found[0], reference(large), atol=TOLERANCE)
        body = {"instances": [{"b64": base64_of(large)}]}
        answer = await ask(served, "/v1/models/echo:predict", json=body)
        np.testing.assert_allclose(
            answer.json()["predictions"][0], reference(large), atol=TOLERANCE
        )


async def test_a_long_description_of_binary_images_is_decoded_in_the_codec_process(
    tmp_path: Path,
) -> None:
    echo(tmp_path)
    async with serve(tmp_path) as served:
        request = binary(PHOTO, TALL, parameters={"note": "x" * 40_000})
        found = values(await ask(served, "/v2/models/echo/infer", **request))
        np.testing.assert_allclose(found, [reference(PHOTO), reference(TALL)], atol=TOLERANCE)


async def test_an_image_model_still_accepts_tensors(tmp_path: Path) -> None:
    echo(tmp_path)
    x = np.random.default_rng(0).standard_normal((2, 3, SIDE, SIDE)).astype(np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    async with serve(tmp_path) as served:
        for more in ({}, {"id": "BYTES"}, {"id": "\\u0041"}):
            body = {"inputs": [tensor], **more}
            found = values(await ask(served, "/v2/models/echo/infer", json=body))
            np.testing.assert_array_equal(found, x)
        answer = await ask(served, "/v1/models/echo:predict", json={"instances": x.tolist()})
        np.testing.assert_allclose(answer.json()["predictions"], x, atol=1e-6)


@pytest.mark.parametrize(
    ("request_of", "told"),
    [
        (lambda: binary(PHOTO[:900]), "broken or truncated JPEG"),
        (lambda: binary(b""), "is empty"),
        (lambda: binary(b"not an image"), "not a readable image"),
        (lambda: binary(PHOTO, b"GIF89a...."), 'input "image": image 1 is not a readable'),
        (lambda: in_json("?"), "image 0 is not base64"),
        (lambda: in_json("AAAA", "AAAA", shape=[1]), "has 2 images, shape [1] needs 1"),
        (lambda: in_json(*["AAAA"] * 257), "has 257 images, expected 1 to 256"),
        (lambda: in_json(shape=[0]), "has 0 images"),
        (lambda: binary(PHOTO, name="picture"), 'input "picture"'),
    ],
)
async def test_invalid_images_are_refused_with_the_reason(
    tmp_path: Path, request_of: Any, told: str
) -> None:
    echo(tmp_path)
    async with serve(tmp_path) as served:
        answer = await ask(served, "/v2/models/echo/infer", **request_of())
        assert answer.status_code == 400, answer.text
        assert told in answer.json()["error"]
        good = await ask(served, "/v2/models/echo/infer", **binary(PHOTO))
        assert good.status_code == 200, "the server still answers"


async def test_the_number_of_pixels_is_checked_before_decoding(tmp_path: Path) -> None:
    echo(tmp_path, TOML + "max_pixels = 5000\n")
    async with serve(tmp_path) as served:
        answer = await ask(served, "/v2/models/echo/infer", **binary(PHOTO))
        assert answer.status_code == 400
        assert "90x60 pixels, the limit is 5000" in answer.json()["error"]


async def test_decoded_pixels_count_against_the_memory_budget(tmp_path: Path) -> None:
    echo(tmp_path)
    plain = encoded(picture(3000, 2000).quantize(2), "PNG")
    assert len(plain) < 2_000_000, "the body itself fits into the budget"
    async with serve(tmp_path) as served:
        traffic = served.server._inference.traffic
        traffic._budget.limit = 40 * 2**20
        answer = await ask(served, "/v2/models/echo/infer", **binary(plain))
        assert answer.status_code == 413, answer.text
        assert "--memory-budget" in answer.json()["error"]
        assert traffic.counts().held == 0
        good = await ask(served, "/v2/models/echo/infer", **binary(PHOTO))
        assert good.status_code == 200
        assert traffic.counts().held == 0


async def test_an_image_and_its_input_tensor_in_one_request_are_refused(tmp_path: Path) -> None:
    echo(tmp_path)
    zeros = np.zeros((1, 3, SIDE, SIDE), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3, SIDE, SIDE], "data": zeros.tolist()}
    body = in_json(base64_of(PHOTO))["json"]
    body["inputs"].append(tensor)
    async with serve(tmp_path) as served:
        answer = await ask(served, "/v2/models/echo/infer", json=body)
        assert answer.status_code == 400
        assert "send only one of them" in answer.json()["error"]


async def test_images_of_different_sizes_in_one_request_are_refused(tmp_path: Path) -> None:
    raw_echo(tmp_path, '[image]\nresize = "none"\n')
    async with serve(tmp_path) as served:
        found = values(await ask(served, "/v2/models/raw/infer", **binary(TALL)))
        np.testing.assert_array_equal(found[0], np.asarray(picture(50, 100)))
        answer = await ask(served, "/v2/models/raw/infer", **binary(TALL, PHOTO))
        assert answer.status_code == 400
        assert "send each in a separate request" in answer.json()["error"]


LABELS = '\n[outputs.scores]\nlabels = ["red", "green", "blue"]\n'


async def test_a_classifier_answers_with_labels(tmp_path: Path) -> None:
    classifier(tmp_path, "[image]\nclasses = 2\n" + LABELS)
    green = encoded(picture().point([0] * 256 + list(range(256)) + [0] * 256))
    async with serve(tmp_path) as served:
        answer = await ask(
            served, "/v1/models/colours:predict", json={"instances": [{"b64": base64_of(green)}]}
        )
        first, second = answer.json()["predictions"][0]
        assert first["label"] == "green" and first["index"] == 1
        assert first["score"] > second["score"] == 0
        wanted = [{"name": "scores", "parameters": {"classification": 1, "binary_data": False}}]
        answer = await ask(served, "/v2/models/colours/infer", **binary(green, outputs=wanted))
        assert answer.json()["outputs"][0]["data"][0].endswith(":1:green")


async def test_labels_are_read_from_config_json(tmp_path: Path) -> None:
    home = classifier(tmp_path, "")
    (home / "preprocessor_config.json").write_text(
        json.dumps({"do_resize": True, "size": SIDE, "do_normalize": False, "resample": 2})
    )
    (home / "config.json").write_text(json.dumps({"id2label": {"0": "R", "1": "G", "2": "B"}}))
    async with serve(tmp_path) as served:
        wanted = [{"name": "scores", "parameters": {"classification": 3, "binary_data": False}}]
        answer = await ask(served, "/v2/models/colours/infer", **binary(PHOTO, outputs=wanted))
        assert answer.status_code == 200, answer.text
        assert {text[-1] for text in answer.json()["outputs"][0]["data"]} == {"R", "G", "B"}
        shown = (await served.client.get("/v2/models/colours")).json()["parameters"]
        assert shown["image_input"] == '"image" BYTES [-1], in place of "x"'
        assert shown["image_size"] == f"{SIDE}x{SIDE}"


async def test_boxes_are_scaled_to_the_image(tmp_path: Path) -> None:
    boxes = '[image]\nresize = "fit"\n[image.boxes]\noutput = "boxes"\n'
    detector(tmp_path, boxes)
    async with serve(tmp_path) as served:
        # 64 x 32 pixels fill the whole width of 32, and rows 8 to 24.
        image = encoded(picture(64, 32))
        found = values(await ask(served, "/v2/models/detector/infer", **binary(image)))
        np.testing.assert_allclose(found, [[[16, -8, 48, 24, 0.5]]], atol=1e-4)
        answer = await ask(
            served, "/v1/models/detector:predict", json={"instances": [{"b64": base64_of(image)}]}
        )
        np.testing.assert_allclose(
            answer.json()["predictions"], [[[16, -8, 48, 24, 0.5]]], atol=1e-4
        )
        x = np.zeros((1, 3, SIDE, SIDE), np.float32)
        answer = await ask(served, "/v1/models/detector:predict", json={"instances": x.tolist()})
        np.testing.assert_allclose(answer.json()["predictions"], [[[8, 4, 24, 20, 0.5]]])


async def test_decoding_time_is_counted(tmp_path: Path) -> None:
    echo(tmp_path)
    async with serve(tmp_path) as served:
        await ask(served, "/v2/models/echo/infer", **binary(PHOTO, TALL))
        page = (await served.client.get("/metrics")).text
        assert 'quantserve_images_decoded_total{model="echo",version="1"} 2.0' in page
        line = next(x for x in page.splitlines() if x.startswith("quantserve_image_decoding_sec"))
        assert 0 < float(line.split()[1]) < 10
