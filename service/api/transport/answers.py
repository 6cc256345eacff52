"""From outputs to the bytes of an answer, and from an error to the bytes of an error answer. No
I/O."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

import orjson

from service.api.offload.jobs import Encoding
from service.api.protocol import codec, v1
from service.api.protocol.answer_limit import Size, v1_size, v2_size
from service.api.protocol.classification import classify
from service.api.protocol.errors import status_of
from service.api.protocol.json_tensors import Buffer
from service.api.transport.exchange import Admitted
from service.core.errors import (
    BodyTimeout,
    BodyTooLarge,
    MemoryFull,
    MethodNotAllowed,
    QuantserveError,
    QueueFull,
    ShuttingDown,
)
from service.core.requests import InferRequest, InferResponse, RequestedOutput
from service.core.sizes import HERE_BYTES, HERE_STRINGS, HERE_VALUES
from service.core.tensors import Arrays, Signature, Tensor
from service.engine.repository.version import ModelVersion

Header = tuple[bytes, bytes]
JSON = (b"content-type", b"application/json")
ONLY_JSON = (JSON,)
BINARY = (b"content-type", b"application/octet-stream")
CLOSE = (b"connection", b"close")
ALLOW = (b"allow", b"OPTIONS, POST")
"""The methods of the inference routes."""
LONGEST_ERROR = 2000
"""Characters of an error message."""


class Answer(NamedTuple):
    """An answer, without the headers that are common to all answers."""

    status: int
    headers: tuple[Header, ...]
    body: Buffer
    rest: Sequence[Buffer] = ()
    """Further parts of the body, sent after ``body`` without being copied."""

    @property
    def size(self) -> int:
        """Bytes of the whole body."""
        size = len(self.body)
        for part in self.rest:
            size += len(part)
        return size

    def encoded(self, encoding: bytes, body: Buffer) -> "Answer":
        """Return the same answer with the compressed ``body``."""
        return Answer(self.status, (*self.headers, (b"content-encoding", encoding)), body)


def predicted(
    version: ModelVersion,
    signature: Signature,
    request: InferRequest,
    outputs: Arrays,
    tokens: bool,
) -> Answer:
    """Return the answer in the V1 protocol; for ``tokens``, see ``v1.encode``."""
    tensors = _named(signature, request.outputs, outputs)
    response = InferResponse(version.model, version.number, tensors)
    return Answer(200, ONLY_JSON, v1.encode(response, tokens))


def inferred(
    version: ModelVersion,
    signature: Signature,
    request: InferRequest,
    outputs: Arrays,
    tokens: bool,
) -> Answer:
    """Return the answer in the v2 protocol, with each output in the requested form.

    ``outputs`` are the requested outputs, in the order of the request. If the request names no
    outputs, they are all outputs, in the order of the signature.

    Raises:
        MalformedRequest: an output does not fit in its place in shared memory.
    """
    wanted, default = request.outputs, request.binary_outputs
    tensors = tensors_of(version, signature, request, outputs)
    binary = []
    # A comprehension takes longer for the usual one or two outputs.
    for place in range(len(tensors)):
        binary.append(wanted[place].is_binary(default) if wanted else default)
    response = InferResponse(version.model, version.number, tensors, request.id)
    sinks = () if request.shared is None else [each.sink for each in wanted]
    document, raw = codec.encode_parts(response, binary, tokens, sinks)
    if not raw:
        return Answer(200, ONLY_JSON, document)
    return Answer(200, (BINARY, _json_length(len(document))), document, raw)


Write = Callable[[ModelVersion, Signature, InferRequest, Arrays, bool], Answer]
"""Writes the answer in one protocol; see ``inferred``."""
WRITES: Mapping[str, Write] = {"v1": predicted, "v2": inferred}


def tensors_of(
    version: ModelVersion, signature: Signature, request: InferRequest, outputs: Arrays
) -> tuple[Tensor, ...]:
    """Return the outputs of an answer with their names. Outputs requested as classes have these as
    their values."""
    tensors = _named(signature, request.outputs, outputs)
    for each in request.outputs:  # not a comprehension, as in ``inferred``
        if each.classes:
            return _classified(tensors, request.outputs, version, signature.has_rows)
    return tensors


def takes_long(admitted: Admitted, protocol: str, outputs: Arrays) -> bool:
    """Return True if encoding these outputs would block the event loop for too long."""
    request, wanted = admitted.request, admitted.request.outputs
    numbers = strings = text = 0
    for place, array in enumerate(outputs):
        each = wanted[place] if wanted else RequestedOutput("")
        binary = each.is_binary(request.binary_outputs)
        if array.dtype.hasobject:
            strings += array.size
            text += sum(map(len, array.ravel().tolist())) if strings <= HERE_STRINGS else 0
        elif each.classes:
            strings += array.size
        elif protocol == "v1" or not binary:
            numbers += array.size
    return numbers > HERE_VALUES or strings > HERE_STRINGS or text > HERE_BYTES


def to_encode(
    admitted: Admitted, protocol: str, outputs: Arrays, tokens: bool
) -> tuple[InferResponse, Encoding]:
    """Return the outputs and their encoding, for the codec process."""
    request, version, signature = admitted
    tensors = _named(signature, request.outputs, outputs)
    wanted = request.outputs or [RequestedOutput(tensor.name) for tensor in tensors]
    encoding = Encoding(
        protocol,
        [each.is_binary(request.binary_outputs) for each in wanted],
        [each.classes for each in wanted],
        [version.labels(each.name) if each.classes else () for each in wanted],
        signature.has_rows,
        tokens,
    )
    return InferResponse(version.model, version.number, tensors, request.id), encoding


def encoded(body: Buffer, json_length: int | None) -> Answer:
    """Return the answer with this body. If raw tensors follow the JSON, ``json_length`` is the
    length of the JSON; otherwise None."""
    if json_length is None:
        return Answer(200, ONLY_JSON, body)
    return Answer(200, (BINARY, _json_length(json_length)), body)


def _json_length(length: int) -> Header:
    return (b"inference-header-content-length", b"%d" % length)


def answer_size(
    protocol: str,
    version: ModelVersion,
    signature: Signature,
    request: InferRequest,
    outputs: Arrays,
    limit: int,
) -> Size:
    """Return the maximum size of an answer before it is built.

    Raises:
        ResponseTooLarge: the answer may have more than ``limit`` bytes.
    """
    tensors = _named(signature, request.outputs, outputs)
    if protocol == "v1":
        return v1_size(tensors, limit)
    labels = [version.labels(tensor.name) for tensor in tensors]
    return v2_size(request, tensors, labels, signature.has_rows, limit)


def _named(
    signature: Signature, wanted: Sequence[RequestedOutput], outputs: Arrays
) -> tuple[Tensor, ...]:
    specs = signature.outputs
    if len(specs) == 1:  # it is in its place already
        spec = specs[0]
        return (Tensor(spec.name, spec.datatype, outputs[0]),)
    if wanted:
        by_name = {spec.name: spec for spec in specs}
        specs = tuple([by_name[each.name] for each in wanted])
    # Not a strict zip, which takes three times as long: there is one output for each spec.
    return tuple([Tensor(s.name, s.datatype, outputs[i]) for i, s in enumerate(specs)])


def _classified(
    tensors: tuple[Tensor, ...],
    wanted: Sequence[RequestedOutput],
    version: ModelVersion,
    batched: bool,
) -> tuple[Tensor, ...]:
    return tuple(
        classify(t, each.classes, version.labels(t.name), batched) if each.classes else t
        for t, each in zip(tensors, wanted, strict=True)
    )


def refused(error: QuantserveError) -> Answer:
    """Return the answer for an error."""
    headers = [JSON]
    if isinstance(error, QueueFull):
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
    if isinstance(error, MemoryFull):
        headers.append((b"retry-after", b"1"))
    if isinstance(error, MethodNotAllowed):
        headers.append(ALLOW)
    if isinstance(error, BodyTooLarge | BodyTimeout | MemoryFull | ShuttingDown):
        # The rest of the body is not read, or the server reads no more requests.
        headers.append(CLOSE)
    return Answer(status_of(error), tuple(headers), orjson.dumps({"error": shorten(str(error))}))


def shorten(text: str) -> str:
    """Cut a text to ``LONGEST_ERROR`` characters: it may quote parts that the client sent."""
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}..."
