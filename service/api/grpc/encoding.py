"""Encodes outputs to a ModelInferResponse. Tensors are always raw: clients read no other form."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from service.api.grpc.wire import encoded_varint, field, prefix
from service.api.protocol.binary_tensors import to_bytes
from service.api.protocol.json_tensors import Buffer
from service.api.transport.answers import Answer, tensors_of
from service.core.requests import InferRequest, RequestedOutput
from service.core.tensors import Arrays, Signature, Tensor
from service.engine.repository.version import ModelVersion

MODEL, VERSION, ID, OUTPUTS, RAW = 0x0A, 0x12, 0x1A, 0x2A, 0x32
"""Tags of the fields of ModelInferResponse."""
NAME, DATATYPE, SHAPE, PARAMETERS = 0x0A, 0x12, 0x1A, 0x22
"""Tags of the fields of an output; the shape is packed."""
KEY, VALUE, INTEGER, STRING = 0x0A, 0x12, 0x10, 0x1A
"""Tags of the fields of an entry in a map of parameters, and of two types of its value."""


def responded(
    version: ModelVersion,
    signature: Signature,
    request: InferRequest,
    outputs: Arrays,
    tokens: bool,
) -> Answer:
    """Return the message as the body of an answer. Its numbers are never text, so ``tokens`` has no
    effect.

    Outputs in shared memory have empty raw contents, because clients count the raw contents.

    Raises:
        MalformedRequest: an output does not fit in its place in shared memory.
    """
    tensors = tensors_of(version, signature, request, outputs)
    parts: list[Buffer] = [_model(version.model, version.number)]
    if request.id:
        parts.append(field(ID, request.id.encode()))
    if request.shared is not None:
        return Answer(200, (), b"", parts + _with_sinks(tensors, request.outputs))
    parts += [field(OUTPUTS, _described(t.name, t.datatype.name, t.array.shape)) for t in tensors]
    for tensor in tensors:
        data = to_bytes(tensor)
        parts.append(prefix(RAW, len(data)))
        parts.append(data)
    return Answer(200, (), b"", parts)


def _with_sinks(tensors: Sequence[Tensor], wanted: Sequence[RequestedOutput]) -> list[Buffer]:
    """Return the parts of the outputs. Write outputs with a place in shared memory to it."""
    described: list[Buffer] = []
    contents: list[Buffer] = []
    for place, tensor in enumerate(tensors):
        data, told = to_bytes(tensor), b""
        if wanted and (sink := wanted[place].sink) is not None:
            told, data = _parameters(sink.put(data)), b""
        what = _described(tensor.name, tensor.datatype.name, tensor.array.shape)
        described.append(field(OUTPUTS, what + told))
        contents += [prefix(RAW, len(data)), data]
    return described + contents


def _parameters(told: Mapping[str, str | int]) -> bytes:
    made = b""
    for name, value in told.items():
        if isinstance(value, int):
            choice = b"%c%b" % (INTEGER, encoded_varint(value))
        else:
            choice = field(STRING, value.encode())
        made += field(PARAMETERS, field(KEY, name.encode()) + field(VALUE, choice))
    return made


@lru_cache(maxsize=1024)
def _model(name: str, version: int) -> bytes:
    return field(MODEL, name.encode()) + field(VERSION, b"%d" % version)


@lru_cache(maxsize=1024)
def _described(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """Return the message of an output without its data."""
    lengths = b"".join(map(encoded_varint, shape))
    described = field(NAME, name.encode()) + field(DATATYPE, datatype.encode())
    if shape:
        described += field(SHAPE, lengths)
    return described
