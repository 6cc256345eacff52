"""The fields of a v2 request other than its inputs: id, parameters and requested outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.api.protocol import non_finite
from service.api.protocol.json_tensors import (
    kind,
)
from service.api.protocol.shared_memory import place_of
from service.api.protocol.unsupported import refuse_sequence
from service.core.errors import MalformedRequest
from service.core.requests import (
    DEFAULT_PRIORITY,
    InferRequest,
    RequestedOutput,
    SharedInput,
)
from service.core.tensors import Tensor

MAX_OUTPUTS = 4096


def request_of(message: Mapping[str, Any], inputs: tuple[Tensor, ...]) -> InferRequest:
    """Return a request with these inputs; the JSON ``message`` has its other fields.

    Raises:
        MalformedRequest: the message names the error and its place.
    """
    # null is the same as a missing key: many clients send null for an option that is not set.
    id = message.get("id")
    if id is None:
        id = ""
    elif type(id) is not str:
        raise MalformedRequest(f'"id" must be a string, got {kind(id)}')
    parameters = parameters_of(message, "the request")
    outputs = message.get("outputs")
    if outputs is None:
        outputs = ()
    elif type(outputs) is not list:
        raise MalformedRequest(f'"outputs" must be a list, got {kind(outputs)}')
    wanted = _outputs(outputs) if outputs else ()
    if not parameters:
        return InferRequest(inputs, wanted, id, shared=_none_or_some(wanted))
    refuse_sequence(parameters)
    timeout = integer(parameters, "timeout", 0)
    return InferRequest(
        inputs,
        wanted,
        id,
        integer(parameters, "priority", 0) or DEFAULT_PRIORITY,
        timeout / 1e6 if timeout else None,
        _flag(parameters, "binary_data_output") or False,
        non_finite.asked(parameters),
        _none_or_some(wanted),
    )


def _none_or_some(wanted: Sequence[RequestedOutput]) -> tuple[SharedInput, ...] | None:
    """The field ``shared`` of a request without inputs in shared memory."""
    for each in wanted:
        if each.shared is not None:
            return ()
    return None


def _outputs(items: list[Any]) -> tuple[RequestedOutput, ...]:
    """Return the requested outputs. Each may be requested only once, so that a request cannot make
    the answer larger than all outputs of the model."""
    if len(items) > MAX_OUTPUTS:
        raise MalformedRequest(
            f'"outputs" has {len(items)} items, at most {MAX_OUTPUTS} are allowed'
        )
    wanted = tuple([_output(item) for item in items])
    if len(wanted) > 1:
        names: set[str] = set()
        for name, *_ in wanted:
            if name in names:
                raise MalformedRequest(f'"outputs" names "{name:.80}" twice, expected once')
            names.add(name)
    return wanted


def _output(item: Any) -> RequestedOutput:
    if type(item) is not dict:
        raise MalformedRequest(f'each of "outputs" must be an object, got {kind(item)}')
    if type(item.get("name")) is not str:
        raise MalformedRequest('each of "outputs" must have a "name" that is a string')
    parameters = parameters_of(item, f'output "{item["name"]}"')
    classes = integer(parameters, "classification", 0)
    binary = _flag(parameters, "binary_data")
    place = place_of(parameters, f'output "{item["name"]}"')
    if place is None:
        return RequestedOutput(item["name"], classes, binary)
    return RequestedOutput(item["name"], classes, True, place)


def parameters_of(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the parameters of a request, an input or an output.

    Raises:
        MalformedRequest: they are not an object.
    """
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise MalformedRequest(f'"parameters" of {where} must be an object, got {kind(parameters)}')
    return parameters


def integer(parameters: Mapping[str, Any], name: str, default: int) -> int:
    """Return a parameter that is an integer of at least 0.

    Raises:
        MalformedRequest: it has another value.
    """
    value = parameters.get(name, default)
    if type(value) is not int or value < 0:
        raise MalformedRequest(f'parameter "{name}" must be an integer >= 0, got {value!r:.40}')
    return value


def _flag(parameters: Mapping[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and type(value) is not bool:
        raise MalformedRequest(f'parameter "{name}" must be true or false, got {value!r:.40}')
    return value
