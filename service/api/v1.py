"""The V1 protocol for people and curl: {"instances": [...]} to {"predictions": [...]}. Pure."""

from typing import Any

import orjson

from service.api import non_finite
from service.api.json_tensors import (
    JSON_TYPES,
    MAX_RANK,
    Bytes,
    from_bfloat16,
    json_array,
    kind,
    parse_json,
    show,
)
from service.core.errors import MalformedRequest
from service.core.requests import InferRequest, InferResponse
from service.core.tensors import Array, Signature, Tensor, TensorSpec


def decode(body: Bytes, signature: Signature) -> InferRequest:
    """One tensor per input from a list of instances: values, or objects with a value per input.

    Of ``parameters``, which V1 leaves to the server, ``non_finite`` is read.

    Raises:
        MalformedRequest: naming what is wrong.
    """
    message = parse_json(body, non_finite.loads)
    form = non_finite.asked(message.get("parameters"))
    instances = message.get("instances")
    if type(instances) is not list or not instances:
        raise MalformedRequest('"instances" must be a list of at least one instance')
    if type(instances[0]) is not dict:
        if len(signature.inputs) != 1:
            names = ", ".join(f'"{spec.name}"' for spec in signature.inputs)
            raise MalformedRequest(
                f"each instance must be an object with {names}, got {kind(instances[0])}"
            )
        return InferRequest((_column(signature.inputs[0], instances),), non_finite=form)
    known = {spec.name for spec in signature.inputs}
    for place, instance in enumerate(instances):
        if type(instance) is not dict or set(instance) != known:
            names = ", ".join(f'"{spec.name}"' for spec in signature.inputs)
            raise MalformedRequest(
                f"each instance must be an object with {names} and nothing else,"
                f" instance {place} is not"
            )
    columns = (_column(spec, [each[spec.name] for each in instances]) for spec in signature.inputs)
    return InferRequest(tuple(columns), non_finite=form)


def _column(spec: TensorSpec, values: list[Any]) -> Tensor:
    shape: list[int] = []
    level: Any = values
    while type(level) is list:
        if len(shape) == MAX_RANK:
            raise MalformedRequest(
                f'input "{spec.name}" takes {spec}, got lists nested more than {MAX_RANK} deep'
            )
        shape.append(len(level))
        level = level[0] if level else None
    if level is not None and type(level) not in JSON_TYPES[spec.datatype.kind]:
        raise MalformedRequest(f'input "{spec.name}" takes {spec}, got {show(level)}')
    return Tensor(spec.name, spec.datatype, json_array(spec.name, spec.datatype, shape, values))


def encode(response: InferResponse, tokens: bool = True) -> bytes:
    """The predictions: a value per instance, or an object of values for several outputs. NaN and
    infinity are bare ``tokens``, else null.

    Raises:
        MalformedRequest: the model's outputs do not have a value for each instance.
    """
    arrays = {tensor.name: _array(tensor) for tensor in response.outputs}
    columns: dict[str, Any] = {name: array.tolist() for name, array in arrays.items()}
    document = _predictions(columns, response.model)
    if not tokens or document.find(b"l") < 0:  # numbers have none: there is no null
        return document
    strange = {name: array for name, array in arrays.items() if non_finite.is_strange(array)}
    if not strange:
        return document
    for name, array in strange.items():
        columns[name] = (
            [non_finite.literal(row, nested=True) for row in array]
            if len(columns) > 1
            else non_finite.literal(array, nested=True)
        )
    return _predictions(columns, response.model)


def _predictions(columns: dict[str, Any], model: str) -> bytes:
    """``columns`` hold the values of each output."""
    if len(columns) == 1:
        predictions = next(iter(columns.values()))
    else:
        lengths = {len(each) if type(each) is list else -1 for each in columns.values()}
        if len(lengths) != 1 or -1 in lengths:
            raise MalformedRequest(
                "the model's outputs do not have one value for each instance: ask for them by"
                f" POST /v2/models/{model}/infer"
            )
        rows = zip(*columns.values(), strict=True)
        predictions = [dict(zip(columns, row, strict=True)) for row in rows]
    return orjson.dumps({"predictions": predictions})


def _array(tensor: Tensor) -> Array:
    return from_bfloat16(tensor.array) if tensor.datatype.name == "BF16" else tensor.array
