"""Open Inference Protocol v2: bytes to an InferRequest, an InferResponse to bytes. Pure.

Source: https://github.com/kserve/open-inference-protocol and Triton's binary tensor data,
classification and schedule policy extensions.
"""

from array import array as packed
from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import orjson

from service.core.errors import MalformedRequest
from service.core.requests import DEFAULT_PRIORITY, InferRequest, InferResponse, RequestedOutput
from service.core.tensors import DATATYPES, Array, Datatype, Signature, Tensor

MAX_RANK = 32
NOTHING = memoryview(b"")
INFINITY, MINUS_INFINITY = (np.array(x, "<f4").tobytes() for x in (np.inf, -np.inf))
JSON_TYPES: dict[str, frozenset[type]] = {
    "boolean": frozenset({bool}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "string": frozenset({str}),
}


def parse_json(document: bytes | memoryview) -> dict[str, Any]:
    """A JSON object.

    Raises:
        MalformedRequest: it is not one.
    """
    try:
        message = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from None
    if type(message) is not dict:
        raise MalformedRequest(f"the body is a JSON {_kind(message)}, expected an object")
    return message


def decode(body: bytes, header_length: int | None = None) -> InferRequest:
    """Read an inference request; ``header_length`` is that of the JSON part before raw tensors.

    Raises:
        MalformedRequest: naming what is wrong, and where.
    """
    tail = NOTHING
    document: bytes | memoryview = body
    if header_length is not None:
        if not 0 <= header_length <= len(body):
            raise MalformedRequest(
                f"Inference-Header-Content-Length is {header_length} for {len(body)} bytes"
            )
        whole = memoryview(body)
        document, tail = whole[:header_length], whole[header_length:]
    message = parse_json(document)
    items = message.get("inputs")
    if type(items) is not list or not items:
        raise MalformedRequest('"inputs" must be a list of at least one tensor')
    inputs, at = [], 0
    for item in items:
        tensor, at = _tensor(item, tail, at)
        inputs.append(tensor)
    if at != len(tail):
        raise MalformedRequest(f"{len(tail) - at} bytes of binary data belong to no input")
    if len(message) == 1:
        return InferRequest(tuple(inputs))
    return _request(message, tuple(inputs))


def decode_raw(body: bytes, signature: Signature) -> InferRequest:
    """A body that is the one input's data and nothing else: a batch of one row.

    Raises:
        MalformedRequest: the model or the data does not allow that.
    """
    if len(signature.inputs) != 1:
        raise MalformedRequest(f"a raw body needs 1 input, the model has {len(signature.inputs)}")
    spec = signature.inputs[0]
    shape = [1 if i == 0 and spec.batchable else d for i, d in enumerate(spec.wire_shape)]
    if spec.datatype.name == "BYTES":
        array = np.array([_utf8(body, spec.name)], dtype=object).reshape([1] * len(shape))
        return InferRequest((Tensor(spec.name, spec.datatype, array),), binary_outputs=True)
    if shape.count(-1) > 1:
        raise MalformedRequest(f'a raw body cannot tell the shape of input "{spec.name}" {spec}')
    fixed = prod(d for d in shape if d != -1) * spec.datatype.size
    shape = [len(body) // fixed if d == -1 and fixed else d for d in shape]
    tensor = _binary(spec.name, spec.datatype, shape, memoryview(body))
    return InferRequest((tensor,), binary_outputs=True)


def _request(message: Mapping[str, Any], inputs: tuple[Tensor, ...]) -> InferRequest:
    id = message.get("id", "")
    if type(id) is not str:
        raise MalformedRequest(f'"id" must be a string, got a {_kind(id)}')
    parameters = _parameters(message, "the request")
    outputs = message.get("outputs") or ()
    if outputs and type(outputs) is not list:
        raise MalformedRequest(f'"outputs" must be a list, got a {_kind(outputs)}')
    if not parameters:
        return InferRequest(inputs, tuple([_output(item) for item in outputs]), id)
    timeout = _integer(parameters, "timeout", 0)
    return InferRequest(
        inputs,
        tuple([_output(item) for item in outputs]),
        id,
        _integer(parameters, "priority", 0) or DEFAULT_PRIORITY,
        timeout / 1e6 if timeout else None,
        _flag(parameters, "binary_data_output") or False,
    )


def _output(item: Any) -> RequestedOutput:
    if type(item) is not dict or type(item.get("name")) is not str:
        raise MalformedRequest('each of "outputs" must be an object with a "name"')
    parameters = _parameters(item, f'output "{item["name"]}"')
    classes = _integer(parameters, "classification", 0)
    return RequestedOutput(item["name"], classes, _flag(parameters, "binary_data"))


def _parameters(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise MalformedRequest(f'"parameters" of {where} must be an object')
    return parameters


def _integer(parameters: Mapping[str, Any], name: str, default: int) -> int:
    value = parameters.get(name, default)
    if type(value) is not int or value < 0:
        raise MalformedRequest(f'parameter "{name}" must be an integer >= 0, got {value!r:.40}')
    return value


def _flag(parameters: Mapping[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and type(value) is not bool:
        raise MalformedRequest(f'parameter "{name}" must be true or false, got {value!r:.40}')
    return value


def _tensor(item: Any, tail: memoryview, at: int) -> tuple[Tensor, int]:
    """One input, and the place in the binary data after it."""
    try:
        name, datatype = item["name"], DATATYPES[item["datatype"]]
    except (KeyError, TypeError):
        raise _unreadable(item) from None
    if type(name) is not str:
        raise MalformedRequest('an input has no "name"')
    shape = item.get("shape")
    if type(shape) is not list or len(shape) > MAX_RANK:
        raise MalformedRequest(f'input "{name}": "shape" must be up to {MAX_RANK} integers')
    for length in shape:
        if type(length) is not int or length < 0:
            raise MalformedRequest(
                f'input "{name}": "shape" must hold integers of at least 0, got {length!r:.40}'
            )
    if "parameters" in item:
        parameters = _parameters(item, f'input "{name}"')
        if "binary_data_size" in parameters:
            size = _integer(parameters, "binary_data_size", 0)
            if at + size > len(tail):
                raise MalformedRequest(
                    f'input "{name}" says binary_data_size {size}, {len(tail) - at} bytes are left'
                )
            return _binary(name, datatype, shape, tail[at : at + size]), at + size
    if "data" not in item:
        raise MalformedRequest(f'input "{name}" has no "data"')
    return Tensor(name, datatype, json_array(name, datatype, shape, item["data"])), at


def _unreadable(item: Any) -> MalformedRequest:
    if type(item) is not dict:
        return MalformedRequest(f'each of "inputs" must be an object, got a {_kind(item)}')
    name = item.get("name")
    if type(name) is not str:
        return MalformedRequest('an input has no "name"')
    known = ", ".join(DATATYPES)
    return MalformedRequest(
        f'input "{name}" has datatype {item.get("datatype")!r:.40}, expected one of {known}'
    )


def json_array(name: str, datatype: Datatype, shape: Sequence[int], data: Any) -> Array:
    """An array from JSON values, flat or nested as the shape says.

    Raises:
        MalformedRequest: the count, the nesting or a value does not fit.
    """
    if type(data) is not list:
        raise MalformedRequest(f'input "{name}": "data" must be a list, got a {_kind(data)}')
    flat = data
    if data and type(data[0]) is list:
        flat = _flatten(name, shape, data)
    expected = prod(shape)
    if len(flat) != expected:
        raise MalformedRequest(
            f'input "{name}" has {len(flat)} values, shape {list(shape)} needs {expected}'
        )
    found = set(map(type, flat))
    if not found <= JSON_TYPES[datatype.kind]:
        wrong = next(value for value in flat if type(value) not in JSON_TYPES[datatype.kind])
        raise MalformedRequest(
            f'input "{name}" takes {datatype} ({datatype.kind} values), got a {_kind(wrong)}'
        )
    return _convert(name, datatype, flat).reshape(shape)


def _convert(name: str, datatype: Datatype, flat: list[Any]) -> Array:
    if datatype.kind == "number":
        return _numbers(name, datatype, flat)
    try:
        return np.array(flat, datatype.dtype)
    except OverflowError:
        low, high = np.iinfo(datatype.dtype).min, np.iinfo(datatype.dtype).max
        wrong = next(value for value in flat if not low <= value <= high)
        raise MalformedRequest(
            f'input "{name}": {wrong} does not fit {datatype} ({low} to {high})'
        ) from None


def _numbers(name: str, datatype: Datatype, flat: list[Any]) -> Array:
    """JSON has neither infinity nor numbers that a double cannot hold, so only narrower datatypes
    can be too small for a value: there it becomes infinity.
    """
    if datatype.name == "FP64":
        return np.array(flat, np.float64)
    if datatype.name == "BF16":
        return _to_bfloat16(_numbers(name, DATATYPES["FP32"], flat))
    if datatype.name == "FP32":
        # As fast as numpy, which would warn of infinity; and to look for its bytes is faster than
        # to compare numbers. They may also be parts of others, then the numbers are compared.
        raw = packed("f", flat).tobytes()
        array: Array = np.frombuffer(raw, np.float32)
        if INFINITY not in raw and MINUS_INFINITY not in raw:
            return array
    else:
        with np.errstate(over="ignore"):
            array = np.array(flat, datatype.dtype)
    finite = np.isfinite(array)
    if not finite.all():
        wrong = flat[int(np.argmin(finite))]
        raise MalformedRequest(f'input "{name}": {wrong} is too large for {datatype}')
    return array


def _to_bfloat16(array: Array) -> Array:
    """Round to nearest, ties to even, as hardware does."""
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _flatten(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    level = [data]
    for axis, size in enumerate(shape):
        for part in level:
            if type(part) is not list or len(part) != size:
                came = f"{len(part)} values" if type(part) is list else f"a {_kind(part)}"
                raise MalformedRequest(
                    f'input "{name}": nested data has {came} on axis {axis}, shape {list(shape)}'
                )
        level = list(chain.from_iterable(level))
    return level


def _binary(name: str, datatype: Datatype, shape: list[int], data: memoryview) -> Tensor:
    expected = prod(shape)
    if datatype.name == "BYTES":
        return Tensor(name, datatype, _strings(name, shape, expected, data))
    if expected * datatype.size != len(data):
        raise MalformedRequest(
            f'input "{name}" has {len(data)} bytes,'
            f" {datatype} {shape} needs {expected * datatype.size}"
        )
    if datatype.name == "BOOL":
        return Tensor(name, datatype, (np.frombuffer(data, np.uint8) != 0).reshape(shape))
    array = np.frombuffer(data, datatype.dtype).reshape(shape)
    return Tensor(name, datatype, array if array.flags.aligned else array.copy())


def _strings(name: str, shape: list[int], expected: int, data: memoryview) -> Array:
    values: list[str] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + size > len(data):
            raise MalformedRequest(f'input "{name}": BYTES element {len(values)} is cut short')
        values.append(_utf8(data[at + 4 : at + 4 + size], name))
        at += 4 + size
    if len(values) != expected:
        raise MalformedRequest(
            f'input "{name}" has {len(values)} values, shape {shape} needs {expected}'
        )
    array = np.empty(expected, dtype=object)
    array[:] = values
    return array.reshape(shape)


def _utf8(data: bytes | memoryview, name: str) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest(f'input "{name}": a BYTES element is not UTF-8') from None


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "list"}
    return names.get(type(value), "null" if value is None else "object")


def encode(response: InferResponse, binary: Sequence[bool]) -> tuple[bytes, int | None]:
    """The answer's bytes, and the length of their JSON part where raw tensors follow it."""
    outputs, raw = [], []
    for tensor, as_binary in zip(response.outputs, binary, strict=True):
        item: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype.name,
            "shape": tensor.array.shape,
        }
        if as_binary:
            data = _to_bytes(tensor)
            item["parameters"] = {"binary_data_size": len(data)}
            raw.append(data)
        else:
            item["data"] = _to_json(tensor)
        outputs.append(item)
    message: dict[str, Any] = {
        "model_name": response.model,
        "model_version": str(response.version),
        "outputs": outputs,
    }
    if response.id:
        message["id"] = response.id
    document = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    if not raw:
        return document, None
    return b"".join((document, *raw)), len(document)


def _to_json(tensor: Tensor) -> Any:
    array = tensor.array
    if tensor.datatype.name == "BYTES":
        return array.ravel().tolist()
    if tensor.datatype.name == "BF16":
        return (array.ravel().astype(np.uint32) << 16).view(np.float32)
    return array.reshape(-1)


def _to_bytes(tensor: Tensor) -> bytes:
    if tensor.datatype.name != "BYTES":
        return tensor.array.tobytes()
    values = [str(value).encode() for value in tensor.array.ravel()]
    return b"".join(part for v in values for part in (len(v).to_bytes(4, "little"), v))


def classify(tensor: Tensor, classes: int, labels: Sequence[str], batched: bool) -> Tensor:
    """The best classes of each row as BYTES "value:index[:label]", best first."""
    array = tensor.array
    if tensor.datatype.kind not in ("number", "integer") or not array.shape:
        raise MalformedRequest(f'output "{tensor.name}" is {tensor.datatype}: it has no classes')
    rows = array.reshape(len(array), -1) if batched else array.reshape(1, -1)
    count = min(classes, rows.shape[1])
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    texts = [
        [f"{row[i]:f}:{i}" + (f":{labels[i]}" if i < len(labels) else "") for i in chosen]
        for row, chosen in zip(rows, best, strict=True)
    ]
    result = np.array(texts, dtype=object).reshape((len(rows), count) if batched else (count,))
    return Tensor(tensor.name, DATATYPES["BYTES"], result)
