"""Outputs to a ModelInferResponse, whose tensors are always raw: clients read nothing else."""

from functools import lru_cache

from service.api.grpc.wire import encoded_varint, field, prefix
from service.api.protocol.binary_tensors import to_bytes
from service.api.protocol.json_tensors import Buffer
from service.api.transport.answers import Answer, tensors_of
from service.core.requests import InferRequest
from service.core.tensors import Arrays, Signature
from service.engine.repository.version import ModelVersion

MODEL, VERSION, ID, OUTPUTS, RAW = 0x0A, 0x12, 0x1A, 0x2A, 0x32
"""Tags of the fields of ModelInferResponse."""
NAME, DATATYPE, SHAPE = 0x0A, 0x12, 0x1A
"""Those of an output; the shape is packed."""


def responded(
    version: ModelVersion,
    signature: Signature,
    request: InferRequest,
    outputs: Arrays,
    tokens: bool,
) -> Answer:
    """The message as the body of an answer. No numbers are text in it: ``tokens`` has no effect."""
    tensors = tensors_of(version, signature, request, outputs)
    parts: list[Buffer] = [_model(version.model, version.number)]
    if request.id:
        parts.append(field(ID, request.id.encode()))
    parts += [_described(t.name, t.datatype.name, t.array.shape) for t in tensors]
    for tensor in tensors:
        data = to_bytes(tensor)
        parts.append(prefix(RAW, len(data)))
        parts.append(data)
    return Answer(200, [], b"", parts)


@lru_cache(maxsize=1024)
def _model(name: str, version: int) -> bytes:
    return field(MODEL, name.encode()) + field(VERSION, b"%d" % version)


@lru_cache(maxsize=1024)
def _described(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """An output without its data."""
    lengths = b"".join(map(encoded_varint, shape))
    described = field(NAME, name.encode()) + field(DATATYPE, datatype.encode())
    if shape:
        described += field(SHAPE, lengths)
    return field(OUTPUTS, described)
