"""Open Inference Protocol v2 as a client writes it: tensors -> request body, answer -> tensors.

Separate from the server's codec on purpose, so that it does not repeat a mistake there.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import orjson

LENGTH_HEADER = "Inference-Header-Content-Length"

Tensors = dict[str, np.ndarray]

DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


class Protocol(StrEnum):
    JSON = "JSON"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Message:
    """One HTTP body of a request or answer, and the headers that describe it."""

    content: bytes
    content_type: str
    header_length: int | None = None

    def headers(self) -> dict[str, str]:
        headers = {"Content-Type": self.content_type}
        if self.header_length is not None:
            headers[LENGTH_HEADER] = str(self.header_length)
        return headers


def request(protocol: Protocol, inputs: Tensors, outputs: tuple[str, ...]) -> Message:
    if protocol is Protocol.JSON:
        return _json({}, "inputs", inputs)
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return _binary({"outputs": wanted}, "inputs", inputs)


def answer(protocol: Protocol, model: str, outputs: Tensors) -> Message:
    """Return the answer of a server, for the size of the constant if no server runs."""
    head: dict[str, object] = {"model_name": model, "model_version": "1"}
    encode = _json if protocol is Protocol.JSON else _binary
    return encode(head, "outputs", outputs)


def decode(message: Message) -> Tensors:
    """Return the outputs of an answer, from JSON data or from the raw bytes behind the JSON."""
    end = len(message.content) if message.header_length is None else message.header_length
    tensors: Tensors = {}
    offset = end
    for output in orjson.loads(message.content[:end])["outputs"]:
        dtype, shape = DTYPES[output["datatype"]], output["shape"]
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            tensors[output["name"]] = np.array(output["data"], dtype).reshape(shape)
            continue
        raw = message.content[offset : offset + size]
        tensors[output["name"]] = np.frombuffer(raw, dtype).reshape(shape)
        offset += size
    return tensors


def _json(head: dict[str, object], key: str, tensors: Tensors) -> Message:
    entries = [_entry(name, array) | {"data": array.ravel()} for name, array in tensors.items()]
    content = orjson.dumps(head | {key: entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Message(content, "application/json")


def _binary(head: dict[str, object], key: str, tensors: Tensors) -> Message:
    entries = [
        _entry(name, array) | {"parameters": {"binary_data_size": array.nbytes}}
        for name, array in tensors.items()
    ]
    header = orjson.dumps(head | {key: entries})
    raw = b"".join(array.tobytes() for array in tensors.values())
    return Message(header + raw, "application/octet-stream", len(header))


def _entry(name: str, array: np.ndarray) -> dict[str, object]:
    return {"name": name, "shape": list(array.shape), "datatype": DATATYPES[array.dtype]}
