"""The functions of the codec process: JSON to a request, and outputs to JSON. No I/O.

Strings are sent between the processes as the protocol's BYTES elements, in ``Packed``.
"""

import pickle
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from service.api.protocol import codec, csv_table, image_bodies, v1
from service.api.protocol.binary_tensors import from_bytes, packed
from service.api.protocol.classification import classify
from service.api.protocol.csv_table import BodyFormat
from service.api.protocol.json_size import check_size
from service.api.protocol.json_tensors import Bytes, check_strings
from service.api.protocol.pace import Paced, go_on
from service.core.padding import Padding
from service.core.requests import InferRequest, InferResponse
from service.core.tensors import DATATYPES, Signature, Tensor


class Packed(NamedTuple):
    """A tensor of BYTES, encoded for the other process."""

    name: str
    shape: tuple[int, ...]
    data: Any


class Encoding(NamedTuple):
    """The format of each output in an answer.

    ``binary`` is True for an output in binary. ``classes`` is the number of best classes to write,
    0 for the values themselves; ``labels`` has their names. ``batched``: the outputs have rows.
    ``tokens``: write NaN and infinities as tokens.
    """

    protocol: str
    binary: Sequence[bool]
    classes: Sequence[int]
    labels: Sequence[Sequence[str]]
    batched: bool
    tokens: bool


Portable = tuple[Tensor | Packed, ...]
Decoded = tuple[InferRequest, Portable]
"""A request without its inputs, and the inputs."""


def pack(tensors: Sequence[Tensor], pace: Paced = go_on) -> Portable:
    """Return the tensors in the form that is sent to another process."""
    return tuple([_packed(t, pace) if t.datatype.name == "BYTES" else t for t in tensors])


def _packed(tensor: Tensor, pace: Paced) -> Packed:
    data = packed(tensor.array, pace)
    return Packed(tensor.name, tensor.array.shape, pickle.PickleBuffer(data))


def unpack(tensors: Portable, pace: Paced = go_on) -> tuple[Tensor, ...]:
    """Return the tensors from the form that another process sent."""
    return tuple([_unpacked(t, pace) if isinstance(t, Packed) else t for t in tensors])


def _unpacked(tensor: Packed, pace: Paced) -> Tensor:
    data = memoryview(tensor.data)
    return from_bytes(tensor.name, DATATYPES["BYTES"], tensor.shape, data, pace)


def portable(body: Bytes) -> Any:
    """Return a body in the form that is sent to another process, without a copy."""
    return pickle.PickleBuffer(body)


def arrived(body: Any) -> Bytes:
    """Return a body from the form that another process sent: a read-only body arrives as a view."""
    whole = body.obj if isinstance(body, memoryview) else body
    assert isinstance(whole, bytes | bytearray), "frames receives into these"
    return whole


def decode_v2(body: Any, header_length: int | None, signature: Signature) -> Decoded:
    """Decode a request with long JSON, for a version with this signature.

    Raises:
        MalformedRequest: see ``codec.decode``.
        SignatureMismatch: see ``Signature.conform``.
    """
    body = arrived(body)
    check_size(body if header_length is None else memoryview(body)[:header_length])
    request = codec.decode(body, header_length)
    return _packed_inputs(request._replace(inputs=signature.conform(request.inputs)))


def decode_v1(
    body: Any, signature: Signature, padding: Padding | None, form: BodyFormat
) -> Decoded:
    """Decode a long request in the V1 protocol.

    Raises:
        MalformedRequest: see ``v1.decode``.
    """
    body = arrived(body)
    if form == "json":
        check_size(body)
    else:
        csv_table.check_size(body)
    return _packed_inputs(v1.decode(body, signature, padding, form))


def decode_images(
    body: Any, header_length: int | None, form: image_bodies.ImageForm, name: str
) -> tuple[InferRequest, Portable, list[Any]]:
    """Decode a request with images and long JSON.

    Return the request without its inputs, the inputs, and the images of the input ``name``.

    Raises:
        MalformedRequest: see ``codec.decode`` and ``image_bodies.decode_v1``.
    """
    body = arrived(body)
    check_size(body if header_length is None else memoryview(body)[:header_length])
    request = read_images(body, header_length, form, name)
    images, request = image_bodies.images_of(name, request)
    packed_request, inputs = _packed_inputs(request)
    return packed_request, inputs, [pickle.PickleBuffer(image) for image in images]


def read_images(
    body: Bytes, header_length: int | None, form: image_bodies.ImageForm, name: str
) -> InferRequest:
    """Decode a request with images in the V1 or v2 protocol; see ``decode_images``."""
    if form == "v1":
        return image_bodies.decode_v1(name, body)
    return codec.decode(body, header_length, image=name)


def _packed_inputs(request: InferRequest) -> Decoded:
    inputs = pack(request.inputs)
    for each in inputs:
        if isinstance(each, Packed):
            count = prod(each.shape)
            check_strings(each.name, count, len(each.data.raw()) - 4 * count)
    return request._replace(inputs=()), inputs


def encode(
    response: InferResponse, outputs: Portable, encoding: Encoding
) -> tuple[Any, int | None]:
    """Return the bytes of an answer with these outputs, and the length of its JSON part if binary
    data follows; see ``codec.encode``.

    Raises:
        MalformedRequest: see ``v1.encode`` and ``classify``.
    """
    tensors = unpack(outputs)
    if encoding.protocol == "v1":
        body: Bytes = v1.encode(response._replace(outputs=tensors), encoding.tokens)
        return pickle.PickleBuffer(body), None
    plan = zip(tensors, encoding.classes, encoding.labels, strict=True)
    tensors = tuple(
        [classify(t, most, labels, encoding.batched) if most else t for t, most, labels in plan]
    )
    response = response._replace(outputs=tensors)
    body, length = codec.encode(response, encoding.binary, encoding.tokens)
    return pickle.PickleBuffer(body), length
