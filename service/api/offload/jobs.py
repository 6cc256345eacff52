"""What the codec process does: JSON to a request, and outputs to JSON. Pure.

Strings go from one process to the other as the protocol's BYTES elements, in ``Packed``.
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
    """A tensor of BYTES on its way."""

    name: str
    shape: tuple[int, ...]
    data: Any


class Encoding(NamedTuple):
    """What to write of each output: ``binary``, or the so many best ``classes`` with their
    ``labels``, of rows if ``batched``; and how: NaN as ``tokens``."""

    protocol: str
    binary: Sequence[bool]
    classes: Sequence[int]
    labels: Sequence[Sequence[str]]
    batched: bool
    tokens: bool


Portable = tuple[Tensor | Packed, ...]
Decoded = tuple[InferRequest, Portable]
"""A request without its inputs, and these."""


def pack(tensors: Sequence[Tensor], pace: Paced = go_on) -> Portable:
    """Tensors as they go to another process."""
    return tuple([_packed(t, pace) if t.datatype.name == "BYTES" else t for t in tensors])


def _packed(tensor: Tensor, pace: Paced) -> Packed:
    data = packed(tensor.array, pace)
    return Packed(tensor.name, tensor.array.shape, pickle.PickleBuffer(data))


def unpack(tensors: Portable, pace: Paced = go_on) -> tuple[Tensor, ...]:
    """Tensors as they came from another process."""
    return tuple([_unpacked(t, pace) if isinstance(t, Packed) else t for t in tensors])


def _unpacked(tensor: Packed, pace: Paced) -> Tensor:
    data = memoryview(tensor.data)
    return from_bytes(tensor.name, DATATYPES["BYTES"], tensor.shape, data, pace)


def portable(body: Bytes) -> Any:
    """A body as it goes to another process, not copied."""
    return pickle.PickleBuffer(body)


def arrived(body: Any) -> Bytes:
    """A body as it came from another process: what was read-only there comes as a view."""
    whole = body.obj if isinstance(body, memoryview) else body
    assert isinstance(whole, bytes | bytearray), "frames receives into these"
    return whole


def decode_v2(body: Any, header_length: int | None, signature: Signature) -> Decoded:
    """A request whose JSON is long, for a version of this signature.

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
    """The same in the V1 protocol.

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
    """A request with images whose JSON is long: without its inputs, these, and the images that
    came as the input ``name``.

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
    """A request in the V1 or v2 protocol with its images; see ``decode_images``."""
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
    """The bytes of an answer with these outputs, and the length of its JSON part where
    others follow; see ``codec.encode``.

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
