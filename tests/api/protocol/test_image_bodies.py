"""The places of images in request bodies."""

import base64
import json
from typing import Any

import pytest

from service.api.protocol.codec import decode
from service.api.protocol.image_bodies import decode_v1, form_of, images_of
from service.core.errors import MalformedRequest
from service.core.sizes import MOST_IMAGES

IMAGE = b"\xff\xd8\xff\0\x80\xfe"
TEXT = base64.b64encode(IMAGE).decode()


@pytest.mark.parametrize(
    ("protocol", "kind", "length", "body", "form"),
    [
        ("v1", b"image/jpeg", None, IMAGE, "body"),
        ("v2", b"Image/PNG", None, IMAGE, "body"),
        ("v2", None, 0, IMAGE, "body"),
        ("v2", None, 0, b"\0" * 64, None),
        ("v1", None, None, b'{"instances": [{"b64": ""}]}', "v1"),
        ("v1", b"application/json", None, b'{"instances": [[1]]}', None),
        ("v2", None, None, b'{"datatype": "BYTES"}', "v2"),
        ("v2", None, None, b'{"datatype": "FP32"}', None),
        ("v2", None, 21, b'{"datatype": "FP32"}\n' + b"BYTES", None),
        ("v2", None, 21, b'{"datatype":"BYTES"}\n' + b"....", "v2"),
    ],
)
def test_the_content_type_states_the_form_of_a_body(
    protocol: str, kind: Any, length: Any, body: bytes, form: Any
) -> None:
    assert form_of(protocol, kind, length, body) == form


@pytest.mark.parametrize(
    "message",
    [
        {"instances": [{"b64": TEXT}, {"image": {"b64": TEXT}}]},
        {"inputs": [{"b64": TEXT}, {"b64": TEXT}]},
        {"inputs": {"image": [{"b64": TEXT}, {"b64": TEXT}]}},
    ],
)
def test_images_in_v1_bodies(message: Any) -> None:
    request = decode_v1("image", json.dumps(message).encode())
    images, rest = images_of("image", request)
    assert images == [IMAGE, IMAGE] and rest.inputs == ()


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"instances": {"b64": TEXT}}, "must be a list"),
        ({"instances": []}, "must be a list of images"),
        ({"instances": [{"b64": TEXT}, 3]}, "instance 1: expected"),
        ({"instances": [{"b64": TEXT, "key": 1}]}, "instance 0: expected"),
        ({"instances": [{"b64": 5}]}, "image 0 is an integer, expected base64"),
        ({"instances": [{"b64": "AAA"}]}, "not base64"),
        ({"instances": [{"b64": "\u00e4"}]}, "not base64"),
        ({"instances": [{"b64": TEXT}] * (MOST_IMAGES + 1)}, "expected 1 to 256"),
    ],
)
def test_invalid_v1_bodies_are_refused(message: Any, told: str) -> None:
    with pytest.raises(MalformedRequest, match=told):
        decode_v1("image", json.dumps(message).encode())


def v2(datatype: str = "BYTES", shape: Any = (2,), **more: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": datatype, "shape": shape, **more}


def test_images_in_v2_bodies_as_json_and_binary() -> None:
    tensor = v2(data=[TEXT, f"data:image/png;base64,{TEXT}"])
    nested = v2(shape=[2, 1], data=[[TEXT], [TEXT]])
    for each in (tensor, nested):
        request = decode(json.dumps({"inputs": [each], "id": "7"}).encode(), image="image")
        images, rest = images_of("image", request)
        assert images == [IMAGE, IMAGE] and rest.id == "7" and not rest.inputs
    raw = 2 * (len(IMAGE).to_bytes(4, "little") + IMAGE)
    numbers = {
        "name": "n",
        "datatype": "UINT8",
        "shape": [1],
        "parameters": {"binary_data_size": 1},
    }
    tensor = v2(parameters={"binary_data_size": len(raw)})
    head = json.dumps({"inputs": [tensor, numbers]}).encode()
    request = decode(head + raw + b"\5", len(head), image="image")
    images, rest = images_of("image", request)
    assert [bytes(each) for each in images] == [IMAGE, IMAGE]
    assert rest.inputs[0].array.tolist() == [5]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"\1\0\0\0a", "has 1 images, shape \\[2\\] needs 2"),
        (b"\1\0\0\0a" * 3, "has 3 images"),
        (b"\x09\0\0\0a", "element 0 has 9 bytes, 1 are left"),
        (b"\1\0\0\0a\0\0", "element 1 has 0 bytes, 0 are left"),
        (b"\0\0\0\0" * 300, "expected 1 to 256"),
    ],
)
def test_invalid_binary_bodies_are_refused(raw: bytes, told: str) -> None:
    head = json.dumps({"inputs": [v2(parameters={"binary_data_size": len(raw)})]}).encode()
    with pytest.raises(MalformedRequest, match=told):
        decode(head + raw, len(head), image="image")


@pytest.mark.parametrize("data", [TEXT, [TEXT], [[TEXT], TEXT, 1], {"b64": TEXT}, None, []])
def test_invalid_json_bodies_are_refused(data: Any) -> None:
    with pytest.raises(MalformedRequest, match='input "image"'):
        decode(json.dumps({"inputs": [v2(data=data)]}).encode(), image="image")


def test_an_input_of_numbers_is_not_an_image() -> None:
    body = json.dumps({"inputs": [v2("FP32", data=[1, 2])]}).encode()
    images, rest = images_of("image", decode(body, image="image"))
    assert images == [] and rest.inputs[0].array.tolist() == [1, 2]


def test_an_image_input_sent_twice_is_refused() -> None:
    tensor = v2(data=[TEXT, TEXT])
    request = decode(json.dumps({"inputs": [tensor, tensor]}).encode(), image="image")
    with pytest.raises(MalformedRequest, match="twice"):
        images_of("image", request)
