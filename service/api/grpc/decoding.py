"""Decodes a ModelInferRequest to an InferRequest."""

import pickle
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from service.api.grpc.messages import message
from service.api.grpc.parameters import values
from service.api.grpc.typed import array_of, has_contents
from service.api.grpc.wire import Parts, split
from service.api.offload.jobs import Portable, arrived, pack, portable, unpack
from service.api.offload.process import CodecProcess
from service.api.protocol.binary_tensors import from_bytes
from service.api.protocol.codec import MAX_INPUTS
from service.api.protocol.image_bodies import (
    array_of_images,
    from_binary,
    from_elements,
    images_of,
)
from service.api.protocol.json_tensors import MAX_RANK, check_strings, show
from service.api.protocol.pace import Pace, Paced, TakesLong, go_on, not_here
from service.api.protocol.request_fields import request_of
from service.api.protocol.shared_memory import REGION, place_of
from service.core.errors import MalformedRequest
from service.core.requests import InferRequest, SharedInput
from service.core.sizes import HERE_BYTES
from service.core.tensors import DATATYPES, Datatype, Tensor

REPEATED = 2048
"""The maximum number of bytes of a description that is cached."""


class Described(NamedTuple):
    """An input without its data. ``size`` is in bytes. It is None for strings, booleans and tensors
    without elements, which need their own checks."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    size: int | None


class Head(NamedTuple):
    """The inputs whose data is in the message, and the request without these inputs."""

    inputs: tuple[Described, ...]
    request: InferRequest


def decode(
    body: bytes, parts: Parts, pace: Paced = not_here, image: str | None = None
) -> InferRequest:
    """Decode the request from the ``parts`` of a message. Long work calls ``pace`` regularly.
    Elements of the BYTES input ``image`` stay bytes.

    Raises:
        MalformedRequest: the message names the error and its place.
        TakesLong: decoding takes too long for the event loop.
    """
    head = parts.head
    if len(head) <= REPEATED and parts.raw:
        known = _remembered(head)
    elif len(head) <= HERE_BYTES or pace is not not_here:
        parsed = _parsed(head)
        if not parts.raw:
            return _typed(parsed, image)._replace(id=parts.id)
        known = _described(parsed)
    else:
        raise TakesLong
    if len(known.inputs) != len(parts.raw):
        raise MalformedRequest(
            f'"raw_input_contents" has {len(parts.raw)} tensors, "inputs" has {len(known.inputs)}'
            " that are not in shared memory: expected the same number"
        )
    inputs = []
    for spec, (start, end) in zip(known.inputs, parts.raw, strict=True):
        name, datatype, shape, size = spec
        if size == end - start:
            array = np.frombuffer(body, datatype.dtype, prod(shape), start).reshape(shape)
            if array.flags.aligned:
                inputs.append(Tensor(name, datatype, array))
                continue
        elif datatype.name == "BYTES" and name == image:
            images = from_binary(name, shape, memoryview(body)[start:end])
            inputs.append(Tensor(name, datatype, images))
            continue
        elif datatype.name == "BYTES":
            count = prod(shape)
            check_strings(name, count, end - start - 4 * count)
        data = memoryview(body)[start:end]
        inputs.append(from_bytes(name, datatype, shape, data, pace))
    return known.request._replace(inputs=tuple(inputs), id=parts.id)


def decode_there(body: Any, image: str | None) -> tuple[InferRequest, Portable, list[Any]]:
    """Decode a message in the codec process, if its tensors are not raw: protobuf holds the GIL
    while it parses them. Return the request without its inputs, the inputs, and the images of the
    input ``image``.

    Raises:
        MalformedRequest: see ``decode``.
    """
    whole, images = bytes(arrived(body)), list[Any]()
    request = decode(whole, split(whole), go_on, image)
    if image is not None:
        images, request = images_of(image, request)
    inputs = pack(request.inputs)
    return request._replace(inputs=()), inputs, [pickle.PickleBuffer(each) for each in images]


def decoded_there(process: CodecProcess, body: bytes, image: str | None) -> InferRequest:
    """Call ``decode_there`` in the codec process, and return the request. Blocks.

    Raises:
        MalformedRequest: see ``decode``.
        CodecFailed, MemoryError: see ``CodecProcess.call``.
    """
    request, inputs, images = process.call(decode_there, portable(body), image)
    found = unpack(inputs, Pace())
    if image is not None and images:
        found += (Tensor(image, DATATYPES["BYTES"], array_of_images(images)),)
    return request._replace(inputs=found)


def _parsed(head: bytes) -> Any:
    try:
        return message("inference.ModelInferRequest").FromString(head)
    except Exception as error:  # DecodeError: each implementation of protobuf has its own class
        raise MalformedRequest(f"the message is not a ModelInferRequest: {error}") from None


@lru_cache(maxsize=256)
def _remembered(head: bytes) -> Head:
    return _described(_parsed(head))


def _described(parsed: Any) -> Head:
    inputs, shared = [], []
    for position, each in enumerate(_inputs(parsed)):
        datatype, shape = _checked(each)
        if has_contents(each):
            raise MalformedRequest(
                f'input "{each.name}" has both "contents" and "raw_input_contents": send only one'
            )
        if (lies := _shared(position, each, datatype, shape)) is not None:
            shared.append(lies)
            continue
        count = prod(shape)
        plain = count and datatype.name not in ("BYTES", "BOOL")
        size = count * datatype.size if plain else None
        inputs.append(Described(each.name, datatype, shape, size))
    return Head(tuple(inputs), _request(parsed, shared))


def _typed(parsed: Any, image: str | None) -> InferRequest:
    inputs, shared = [], []
    for position, each in enumerate(_inputs(parsed)):
        datatype, shape = _checked(each)
        if (lies := _shared(position, each, datatype, shape)) is None:
            if datatype.name == "BYTES" and each.name == image:
                array = from_elements(each.name, shape, each.contents.bytes_contents)
            else:
                array = array_of(each, datatype, shape)
            inputs.append(Tensor(each.name, datatype, array))
            continue
        if has_contents(each):
            raise MalformedRequest(f'input "{each.name}" has both "contents" and "{REGION}"')
        shared.append(lies)
    return _request(parsed, shared)._replace(inputs=tuple(inputs))


def _shared(
    position: int, tensor: Any, datatype: Datatype, shape: tuple[int, ...]
) -> SharedInput | None:
    """Return the input with its place in shared memory; None if its data is in the message."""
    if not tensor.parameters:
        return None
    where = f'input "{tensor.name:.80}"'
    place = place_of(values(tensor.parameters, where), where)
    return place and SharedInput(position, tensor.name, datatype, shape, place)


def _inputs(parsed: Any) -> Any:
    if len(parsed.inputs) > MAX_INPUTS:
        raise MalformedRequest(
            f'"inputs" has {len(parsed.inputs)} tensors, at most {MAX_INPUTS} are allowed'
        )
    return parsed.inputs


def _checked(tensor: Any) -> tuple[Datatype, tuple[int, ...]]:
    """Check and return the datatype and shape of an input."""
    name, datatype = tensor.name, DATATYPES.get(tensor.datatype)
    if datatype is None:
        raise MalformedRequest(
            f'input "{name}" has datatype {show(tensor.datatype)}, expected one of'
            f" {', '.join(DATATYPES)}"
        )
    if len(tensor.shape) > MAX_RANK:
        raise MalformedRequest(f'input "{name}": "shape" must be up to {MAX_RANK} integers')
    shape = tuple(tensor.shape)
    for length in shape:
        if length < 0:
            raise MalformedRequest(
                f'input "{name}": "shape" must hold integers of at least 0, got {length}'
            )
    return datatype, shape


def _request(parsed: Any, shared: Sequence[SharedInput]) -> InferRequest:
    """Return the request without its id and without the inputs in its message. Its outputs are
    always raw, because clients read only raw outputs."""
    outputs = [
        {"name": each.name, "parameters": values(each.parameters, f'output "{each.name:.80}"')}
        for each in parsed.outputs
    ]
    asked = {"parameters": values(parsed.parameters, "the request"), "outputs": outputs}
    request = request_of(asked, ())
    wanted = tuple([each._replace(binary=True) for each in request.outputs])
    if shared:
        request = request._replace(shared=tuple(shared))
    return request._replace(outputs=wanted, binary_outputs=True)
