"""Encodes requests as HTTP bodies: as JSON, or as JSON followed by raw tensors. No I/O."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from service.api.protocol.binary_tensors import to_bytes
from service.api.protocol.json_tensors import to_json
from service.core.tensors import Tensor

LENGTH = "Inference-Header-Content-Length"
JSON = {"Content-Type": "application/json"}


class Body(NamedTuple):
    """The body of a POST request, with its headers."""

    headers: Mapping[str, str]
    content: bytes


class Request(NamedTuple):
    """The inputs of a request, and the other members of its JSON, such as outputs and parameters.

    ``text`` is the whole request if it was given as JSON, which is sent unchanged.
    """

    inputs: tuple[Tensor, ...]
    rest: Mapping[str, Any] = {}
    text: bytes = b""

    def with_rows(self, count: int) -> "Request":
        """Return the request with ``count`` rows, repeating its own rows. Scalar inputs are
        unchanged."""
        tensors = tuple(
            tensor._replace(array=np.resize(tensor.array, (count, *tensor.array.shape[1:])))
            if tensor.array.ndim
            else tensor
            for tensor in self.inputs
        )
        return Request(tensors, self.rest)


def json_body(request: Request) -> Body:
    """Encode a request in JSON; NaN and infinity as the tokens NaN and Infinity."""
    if request.text:
        return Body(JSON, request.text)
    tensors = [{**_head(t), "data": _listed(to_json(t))} for t in request.inputs]
    text = json.dumps({"inputs": tensors, **request.rest}, separators=(",", ":"))
    return Body(JSON, text.encode())


def _listed(data: Any) -> Any:
    """Convert tensor data to a list. Strings are not put into an array of strings, which would
    remove trailing null characters."""
    return data.tolist() if isinstance(data, np.ndarray) else data


def binary_body(request: Request) -> Body:
    """Encode a request with inputs and outputs as raw tensors; classifications stay in JSON."""
    parts = [bytes(to_bytes(tensor)) for tensor in request.inputs]
    tensors = [
        {**_head(tensor), "parameters": {"binary_data_size": len(part)}}
        for tensor, part in zip(request.inputs, parts, strict=True)
    ]
    rest = dict(request.rest)
    rest["parameters"] = {**(rest.get("parameters") or {}), "binary_data_output": True}
    if rest.get("outputs"):
        rest["outputs"] = [_without_flag(each) for each in rest["outputs"]]
    head = json.dumps({"inputs": tensors, **rest}, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}
    return Body(headers, b"".join((head, *parts)))


def _head(tensor: Tensor) -> dict[str, Any]:
    shape = list(tensor.array.shape)
    return {"name": tensor.name, "datatype": tensor.datatype.name, "shape": shape}


def _without_flag(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return a requested output without ``binary_data``, which is set for the whole request."""
    parameters = {k: v for k, v in (output.get("parameters") or {}).items() if k != "binary_data"}
    return {**output, "parameters": parameters}


def shapes(requests: Sequence[Request]) -> str:
    """Return the inputs of the first request as text, such as ``image FP32 [1, 1, 28, 28]``."""
    tensors = requests[0].inputs if requests else ()
    return ", ".join(f"{t.name} {t.datatype} {list(t.array.shape)}" for t in tensors)
