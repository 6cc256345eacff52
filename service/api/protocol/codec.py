"""Open Inference Protocol v2: bytes to an InferRequest, an InferResponse to bytes. No I/O.

Source: https://github.com/kserve/open-inference-protocol and Triton's binary tensor data,
classification and schedule policy extensions.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
import orjson

from service.api.protocol import non_finite
from service.api.protocol.binary_tensors import from_bytes, to_bytes, utf8
from service.api.protocol.image_bodies import from_binary, from_json
from service.api.protocol.json_tensors import (
    MAX_RANK,
    Bytes,
    check_strings,
    has_booleans,
    json_array,
    kind,
    parse_json,
    show,
    to_json,
)
from service.api.protocol.pace import Paced, go_on
from service.api.protocol.request_fields import integer, parameters_of, request_of
from service.api.protocol.shared_memory import REGION, place_of
from service.core.errors import MalformedRequest
from service.core.requests import (
    InferRequest,
    InferResponse,
    SharedInput,
    Sink,
)
from service.core.sizes import HERE_BYTES, HERE_COPY, HERE_VALUES
from service.core.tensors import DATATYPES, Datatype, Signature, Tensor, Written

MAX_INPUTS = 4096
NOTHING = memoryview(b"")
REPEATED = 2048
"""The maximum number of bytes of a JSON part that is cached."""
BINARY_INPUT = {"name", "datatype", "shape", "parameters"}
SHORT = 512
"""Bytes; up to this size, a search for null is faster than a check of the outputs' arrays."""


def decode(
    body: Bytes, header_length: int | None = None, pace: Paced = go_on, image: str | None = None
) -> InferRequest:
    """Decode an inference request. ``header_length`` is the length of the JSON part before raw
    tensors. Long work on binary data calls ``pace`` regularly. Elements of the BYTES input
    ``image`` stay bytes; in JSON, they are base64.

    Raises:
        MalformedRequest: the message names the error and its place.
    """
    tail = NOTHING
    document: Bytes | memoryview = body
    if header_length is not None:
        if not 0 <= header_length <= len(body):
            raise MalformedRequest(
                f"Inference-Header-Content-Length is {header_length},"
                f" the body has {len(body)} bytes"
            )
        if header_length <= REPEATED and len(body) - header_length <= HERE_COPY:
            known = described(bytes(body[:header_length]))
            if known is not None and known.size == len(body) - header_length:
                return InferRequest(_arrays(known, body, header_length), *known.rest)
        whole = memoryview(body)
        document, tail = whole[:header_length], whole[header_length:]
    message = parse_json(document, non_finite.loads)
    items = message.get("inputs")
    if type(items) is not list:  # an empty list is valid for a model without inputs
        raise MalformedRequest('"inputs" must be a list of at least one tensor')
    if len(items) > MAX_INPUTS:
        raise MalformedRequest(
            f'"inputs" has {len(items)} tensors, at most {MAX_INPUTS} are allowed'
        )
    booleans = isinstance(document, memoryview) or has_booleans(document)
    inputs: list[Tensor] = []
    shared: list[SharedInput] = []
    at = 0
    for item in items:
        tensor, at = _tensor(item, tail, at, pace, image, booleans)
        if isinstance(tensor, SharedInput):
            shared.append(tensor._replace(position=len(inputs) + len(shared)))
        else:
            inputs.append(tensor)
    if at != len(tail):
        raise MalformedRequest(f"{len(tail) - at} bytes of binary data belong to no input")
    if len(message) == 1:
        request = InferRequest(tuple(inputs))
    else:
        request = request_of(message, tuple(inputs))
    return request._replace(shared=tuple(shared)) if shared else request


class Described(NamedTuple):
    """The JSON part of a binary request: name, datatype and shape of each input, the size of all
    inputs in bytes, and the fields of the request that follow its inputs."""

    inputs: tuple[tuple[str, Datatype, tuple[int, ...]], ...]
    size: int
    rest: tuple[Any, ...]


@lru_cache(maxsize=256)
def described(document: bytes) -> Described | None:
    """Return the description in a JSON part; it is cached, because clients send the same JSON part
    with every request. Return None if the part must be decoded in full: it has an error, or not all
    of its inputs are binary and of a fixed size."""
    try:
        message = parse_json(document, non_finite.loads)
        request = request_of(message, ())
        items = message["inputs"]
        if len(items) > MAX_INPUTS or not all(item.keys() == BINARY_INPUT for item in items):
            return None
        sizes = [item["parameters"] for item in items]
        if not all(each.keys() == {"binary_data_size"} for each in sizes):
            return None
        # Zeros as data, to check name, datatype, shape and size by the usual function.
        tail = memoryview(bytes(min(HERE_COPY, sum(each["binary_data_size"] for each in sizes))))
        tensors, at = [], 0
        for item in items:
            tensor, at = _tensor(item, tail, at, go_on)
            assert not isinstance(tensor, SharedInput), "it has other parameters"
            tensors.append(tensor)
    except (MalformedRequest, KeyError, TypeError, ValueError, AttributeError):
        return None
    if any(t.datatype.name in ("BYTES", "BOOL") or not t.array.size for t in tensors):
        return None
    inputs = tuple([(t.name, t.datatype, t.array.shape) for t in tensors])
    return Described(inputs, at, request[1:])


def _arrays(known: Described, body: Bytes, at: int) -> tuple[Tensor, ...]:
    """Return the inputs, whose data begins at position ``at`` of the body."""
    made = []
    for name, datatype, shape in known.inputs:
        count = prod(shape)
        array = np.frombuffer(body, datatype.dtype, count, at).reshape(shape)
        made.append(Tensor(name, datatype, array if array.flags.aligned else array.copy()))
        at += count * datatype.size
    return tuple(made)


def decode_raw(body: Bytes, signature: Signature, pace: Paced = go_on) -> InferRequest:
    """Decode a body that is only the data of a model's single input: a batch of one row.

    Raises:
        MalformedRequest: the model has several inputs, or the data does not fit its input.
    """
    if len(signature.inputs) != 1:
        raise MalformedRequest(f"a raw body needs 1 input, the model has {len(signature.inputs)}")
    spec = signature.inputs[0]
    if not spec.ranked:
        raise MalformedRequest(f'a raw body does not state the shape of input "{spec.name}" {spec}')
    shape = [1 if i == 0 and spec.batchable else d for i, d in enumerate(spec.wire_shape)]
    if spec.datatype.name == "BYTES":
        check_strings(spec.name, 1, len(body))
        if len(body) > HERE_BYTES:
            pace()
        array = np.array([utf8(body, spec.name)], dtype=object).reshape([1] * len(shape))
        return InferRequest((Tensor(spec.name, spec.datatype, array),), binary_outputs=True)
    if shape.count(-1) > 1:
        raise MalformedRequest(f'a raw body does not state the shape of input "{spec.name}" {spec}')
    fixed = prod(d for d in shape if d != -1) * spec.datatype.size
    shape = [len(body) // max(fixed, 1) if d == -1 else d for d in shape]
    tensor = from_bytes(spec.name, spec.datatype, shape, memoryview(body), pace)
    return InferRequest((tensor,), binary_outputs=True)


def _tensor(
    item: Any,
    tail: memoryview,
    at: int,
    pace: Paced,
    image: str | None = None,
    booleans: bool = True,
) -> tuple[Tensor | SharedInput, int]:
    """Return one input, and the position after it in the binary data. ``booleans`` is False if
    the request has none."""
    try:
        name, datatype = item["name"], DATATYPES[item["datatype"]]
    except (KeyError, TypeError):
        raise _unreadable(item) from None
    if type(name) is not str:
        raise _unreadable(item)
    shape = item.get("shape")
    if type(shape) is not list or len(shape) > MAX_RANK:
        raise MalformedRequest(f'input "{name}": "shape" must be up to {MAX_RANK} integers')
    for length in shape:
        if type(length) is not int or length < 0:
            raise MalformedRequest(
                f'input "{name}": "shape" must hold integers of at least 0, got {show(length)}'
            )
    if "parameters" in item:
        parameters = parameters_of(item, f'input "{name}"')
        if len(parameters) > 1 or "binary_data_size" not in parameters:
            place = place_of(parameters, f'input "{name}"')
            if place is not None:
                if "data" in item or "binary_data_size" in parameters:
                    raise MalformedRequest(f'input "{name}" has both data and "{REGION}"')
                return SharedInput(0, name, datatype, tuple(shape), place), at
        if "binary_data_size" in parameters:
            size = integer(parameters, "binary_data_size", 0)
            if at + size > len(tail):
                raise MalformedRequest(
                    f'input "{name}" has binary_data_size {size}, {len(tail) - at} bytes are left'
                    " after the JSON part, whose length is in Inference-Header-Content-Length"
                )
            if "data" in item:
                raise MalformedRequest(f'input "{name}" has both "data" and "binary_data_size"')
            data = tail[at : at + size]
            if name == image and datatype.name == "BYTES":
                return Tensor(name, datatype, from_binary(name, shape, data)), at + size
            if datatype.name == "BYTES":
                count = prod(shape)
                check_strings(name, count, size - 4 * count)
            return from_bytes(name, datatype, shape, data, pace), at + size
    if "data" not in item:
        raise MalformedRequest(f'input "{name}" has no "data"')
    if name == image and datatype.name == "BYTES":
        return Tensor(name, datatype, from_json(name, shape, item["data"])), at
    array = json_array(name, datatype, shape, item["data"], booleans=booleans)
    return Written(name, datatype, array), at


def _unreadable(item: Any) -> MalformedRequest:
    if type(item) is not dict:
        return MalformedRequest(f'each of "inputs" must be an object, got {kind(item)}')
    name = item.get("name")
    if type(name) is not str:
        return MalformedRequest('each of "inputs" must have a "name" that is a string')
    known = ", ".join(DATATYPES)
    return MalformedRequest(
        f'input "{name}" has datatype {show(item.get("datatype"))}, expected one of {known}'
    )


def encode(
    response: InferResponse, binary: Sequence[bool], tokens: bool = True
) -> tuple[Bytes, int | None]:
    """Return the bytes of an answer, and the length of the JSON part if raw tensors follow it.

    With ``tokens``, NaN and infinity are bare tokens in the JSON part, otherwise null.
    """
    document, raw = encode_parts(response, binary, tokens)
    if not raw:
        return document, None
    return b"".join((document, *raw)), len(document)


def encode_parts(
    response: InferResponse,
    binary: Sequence[bool],
    tokens: bool = True,
    sinks: Sequence[Sink | None] = (),
) -> tuple[bytes, list[Bytes | memoryview]]:
    """Return the JSON part of an answer, and the raw tensors that follow it; see ``encode``. An
    output with a sink in ``sinks`` is written to it, and the answer has its place.

    Raises:
        MalformedRequest: an output does not fit in its sink.
    """
    if not (response.id or sinks):
        found = _usual_parts(response, binary, tokens)
        if found is not None:
            return found
    model, version, outputs, id = response
    raw: list[Bytes | memoryview] = []
    items: list[dict[str, Any]] = []
    for place, tensor in enumerate(outputs):
        name, datatype, array = tensor
        item: dict[str, Any] = {"name": name, "datatype": datatype.name, "shape": array.shape}
        if binary[place]:
            data = to_bytes(tensor)
            sink = sinks[place] if sinks else None
            if sink is None:
                item["parameters"] = {"binary_data_size": len(data)}
                raw.append(data)
            else:
                item["parameters"] = sink.put(data)
        else:
            item["data"] = array.reshape(-1) if _is_plain(datatype) else to_json(tensor)
        items.append(item)
    message: dict[str, Any] = {"model_name": model, "model_version": str(version)}
    if id:
        message["id"] = id
    message["outputs"] = items
    document = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    # orjson writes null for NaN and infinity.
    if tokens and (len(document) > SHORT or document.find(b"null") > 0):
        document = _with_tokens(document, message)
    return document, raw


def _is_plain(datatype: Datatype) -> bool:
    """Return True if orjson writes arrays of the datatype as the protocol has them."""
    return datatype.kind == "number" and datatype.size > 2


def _usual_parts(
    response: InferResponse, binary: Sequence[bool], tokens: bool
) -> tuple[bytes, list[Bytes | memoryview]] | None:
    """Return what ``encode_parts`` returns for an answer without an id, made of cached parts. None
    if an output in JSON needs another encoding, or is so long that copies of it count."""
    model, version, outputs, _ = response
    for place, (_, datatype, array) in enumerate(outputs):
        if not (binary[place] or (_is_plain(datatype) and array.size <= HERE_VALUES)):
            return None
    raw: list[Bytes | memoryview] = []
    parts = [_answer_start(model, version)]
    for place, (name, datatype, array) in enumerate(outputs):
        if place:
            parts.append(b",")
        if binary[place]:
            data = to_bytes(outputs[place])
            raw.append(data)
            parts.append(_output_json(name, datatype.name, array.shape, len(data)))
        else:
            numbers = orjson.dumps(array.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)
            # orjson writes null for NaN and infinity. Numbers contain no "l", and searching for one
            # byte takes a twentieth of the time of searching for four.
            if tokens and numbers.find(b"l") > 0:
                return None
            parts += (_output_json(name, datatype.name, array.shape, None), numbers, b"}")
    parts.append(b"]}")
    return b"".join(parts), raw


@lru_cache(maxsize=256)
def _answer_start(model: str, version: int) -> bytes:
    """Return the JSON of an answer up to its outputs. Cached: all answers of a version share it."""
    message = {"model_name": model, "model_version": str(version), "outputs": []}
    return orjson.dumps(message).removesuffix(b"]}")


@lru_cache(maxsize=1024)
def _output_json(name: str, datatype: str, shape: tuple[int, ...], size: int | None) -> bytes:
    """Return the JSON of an output that has ``size`` raw bytes; with size None, the JSON up to the
    data. Cached: only the data differs between most answers."""
    item: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    if size is not None:
        return orjson.dumps(item | {"parameters": {"binary_data_size": size}})
    return orjson.dumps(item | {"data": 0}).removesuffix(b"0}")


def _with_tokens(document: bytes, message: dict[str, Any]) -> bytes:
    """Encode the document again if an output has NaN or infinity."""
    strange = [item for item in message["outputs"] if non_finite.is_strange(item.get("data"))]
    if not strange:
        return document
    for item in strange:
        item["data"] = non_finite.literal(item["data"])
    return orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
