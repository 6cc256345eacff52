"""The V1 protocol for people and curl: {"instances": [...]} to {"predictions": [...]}. Pure."""

from typing import Any

import orjson

from service.api.codec import JSON_TYPES, json_array, parse_json
from service.core.errors import MalformedRequest
from service.core.requests import InferRequest, InferResponse
from service.core.tensors import Signature, Tensor, TensorSpec


def decode(body: bytes, signature: Signature) -> InferRequest:
    """One tensor per input from a list of instances: values, or objects with a value per input.

    Raises:
        MalformedRequest: naming what is wrong.
    """
    instances = parse_json(body).get("instances")
    if type(instances) is not list or not instances:
        raise MalformedRequest('"instances" must be a list of at least one instance')
    if type(instances[0]) is not dict:
        if len(signature.inputs) != 1:
            names = ", ".join(f'"{spec.name}"' for spec in signature.inputs)
            raise MalformedRequest(f"each instance must be an object with {names}")
        return InferRequest((_column(signature.inputs[0], instances),))
    known = {spec.name for spec in signature.inputs}
    for instance in instances:
        if type(instance) is not dict or set(instance) != known:
            raise MalformedRequest(f"each instance must be an object with {sorted(known)}")
    return InferRequest(
        tuple(_column(spec, [each[spec.name] for each in instances]) for spec in signature.inputs)
    )


def _column(spec: TensorSpec, values: list[Any]) -> Tensor:
    shape: list[int] = []
    level: Any = values
    while type(level) is list:
        shape.append(len(level))
        level = level[0] if level else None
    if level is not None and type(level) not in JSON_TYPES[spec.datatype.kind]:
        raise MalformedRequest(f'input "{spec.name}" takes {spec}, got a {type(level).__name__}')
    return Tensor(spec.name, spec.datatype, json_array(spec.name, spec.datatype, shape, values))


def encode(response: InferResponse) -> bytes:
    """The predictions: a value per instance, or an object of values for several outputs."""
    columns = {tensor.name: tensor.array.tolist() for tensor in response.outputs}
    if len(columns) == 1:
        predictions = next(iter(columns.values()))
    else:
        rows = zip(*columns.values(), strict=True)
        predictions = [dict(zip(columns, row, strict=True)) for row in rows]
    return orjson.dumps({"predictions": predictions})
