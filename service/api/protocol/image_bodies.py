"""Images in the bodies of requests: detection and decoding. No I/O.

In the v2 protocol, images are BYTES elements, which are base64 in JSON. In V1, they are
``{"b64": "..."}``, as in TensorFlow Serving. An image can also be the whole body. The images of a
request become one tensor of BYTES whose elements are bytes.
"""

import binascii
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Literal

import numpy as np

from service.api.protocol.json_tensors import Bytes, kind, parse_json
from service.core.body_cost import may_hold_strings
from service.core.errors import MalformedRequest
from service.core.requests import InferRequest
from service.core.sizes import MOST_IMAGES
from service.core.tensors import DATATYPES, Array, Tensor

ImageForm = Literal["body", "v2", "v1"]
"""The body is an image, a request of the v2 protocol, or a request of the V1 protocol."""
B64 = b'"b64"'
DATA_URL = "data:"
SHOWN = 40


def form_of(
    protocol: str, content_type: bytes | None, header_length: int | None, body: Bytes
) -> ImageForm | None:
    """Return the form in which a body has images; None if it has none. JSON that only mentions
    BYTES, or has an escape, may be taken for a body with images; it is then decoded as usual."""
    if content_type is not None and content_type[:6].lower() == b"image/":
        return "body"
    if protocol == "v1":
        return "v1" if B64 in body else None
    if header_length == 0:
        return "body" if _is_image(body) else None
    part = body if header_length is None else memoryview(body)[:header_length]
    return "v2" if may_hold_strings(part) else None


def _is_image(body: Bytes) -> bool:
    return body[:3] == b"\xff\xd8\xff" or body[:4] in (b"\x89PNG", b"RIFF", b"GIF8")


def decode_v1(name: str, body: Bytes) -> InferRequest:
    """Decode images in the V1 protocol: ``{"b64": ...}`` for each of ``instances`` or ``inputs``,
    alone or under the name of the input.

    Raises:
        MalformedRequest: the message names the error.
    """
    message = parse_json(body)
    rows = message.get("instances")
    if rows is None:
        rows = message.get("inputs")
        if isinstance(rows, Mapping) and rows.keys() == {name}:
            rows = rows[name]
        if isinstance(rows, Mapping):
            rows = [rows]
    if type(rows) is not list or not rows:
        raise MalformedRequest(
            f'"instances" must be a list of images, each {{"b64": "..."}}, got {kind(rows)}'
        )
    _check_count(name, len(rows))
    return InferRequest((_tensor(name, [_of_row(name, i, row) for i, row in enumerate(rows)]),))


def _of_row(name: str, place: int, row: Any) -> bytes:
    if isinstance(row, Mapping) and row.keys() == {name}:
        row = row[name]
    if not isinstance(row, Mapping) or row.keys() != {"b64"}:
        raise MalformedRequest(
            f'instance {place}: expected {{"b64": "..."}} or {{"{name}": {{"b64": "..."}}}}, and'
            " nothing else"
        )
    return _from_base64(name, place, row["b64"])


def from_json(name: str, shape: Sequence[int], data: Any) -> Array:
    """Return the images of a v2 tensor in JSON: base64, flat or nested.

    Raises:
        MalformedRequest: the number of images does not match the shape, or one is not base64.
    """
    _check_count(name, prod(shape))
    flat = [data]
    while type(flat) is list and flat and type(flat[0]) is list:
        flat = [value for part in flat for value in (part if type(part) is list else [part])]
        if len(flat) > MOST_IMAGES:
            break
    _check_expected(name, shape, len(flat))
    return array_of_images([_from_base64(name, i, value) for i, value in enumerate(flat)])


def from_binary(name: str, shape: Sequence[int], data: memoryview) -> Array:
    """Return the images of a v2 tensor in binary form: each image follows its length in 4 bytes.

    Raises:
        MalformedRequest: the number of images does not match the shape, or one is cut off.
    """
    _check_count(name, prod(shape))
    found: list[memoryview] = []
    at = 0
    while at < len(data):
        _check_count(name, len(found) + 1)
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            raise MalformedRequest(
                f'input "{name}": BYTES element {len(found)} has {end - at - 4} bytes,'
                f" {max(0, len(data) - at - 4)} are left"
            )
        found.append(data[at + 4 : end])
        at = end
    _check_expected(name, shape, len(found))
    return array_of_images(found)


def from_elements(name: str, shape: Sequence[int], elements: Sequence[bytes]) -> Array:
    """Return the images of a tensor whose elements are separate bytes.

    Raises:
        MalformedRequest: the number of images does not match the shape.
    """
    _check_count(name, len(elements))
    _check_expected(name, shape, len(elements))
    return array_of_images(elements)


def images_of(name: str, request: InferRequest) -> tuple[list[bytes | memoryview], InferRequest]:
    """Return the images of a request, and the request without them.

    Raises:
        MalformedRequest: the input appears twice.
    """
    found: list[Tensor] = []
    others: list[Tensor] = []
    for tensor in request.inputs:
        is_image = tensor.name == name and tensor.datatype.name == "BYTES"
        (found if is_image else others).append(tensor)
    if len(found) > 1:
        raise MalformedRequest(f'input "{name}" appears twice, expected once')
    images = found[0].array.ravel().tolist() if found else []
    return images, request._replace(inputs=tuple(others))


def _tensor(name: str, images: Sequence[Any]) -> Tensor:
    return Tensor(name, DATATYPES["BYTES"], array_of_images(images))


def array_of_images(images: Sequence[Any]) -> Array:
    """Return an array of one axis whose elements are these bytes."""
    array = np.empty(len(images), dtype=object)
    for place, image in enumerate(images):  # numpy would convert a memoryview to numbers
        array[place] = image
    return array


def _check_count(name: str, count: int) -> None:
    if not 0 < count <= MOST_IMAGES:
        raise MalformedRequest(
            f'input "{name}" has {count} images, expected 1 to {MOST_IMAGES} in one request'
        )


def _check_expected(name: str, shape: Sequence[int], count: int) -> None:
    if count != prod(shape):
        raise MalformedRequest(
            f'input "{name}" has {count} images, shape {list(shape)} needs {prod(shape)}'
        )


def _from_base64(name: str, place: int, value: Any) -> bytes:
    """Return an image from base64, alone or as a data URL."""
    if type(value) is not str:
        raise MalformedRequest(f'input "{name}": image {place} is {kind(value)}, expected base64')
    text = value.partition(",")[2] if value.startswith(DATA_URL) else value
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # also text that is not ASCII
        shown = f"{value:.{SHOWN}}"
        raise MalformedRequest(
            f'input "{name}": image {place} is not base64 ({error}): {shown!r}'
        ) from None
