"""Triton's shared memory extension: the place of a tensor, from its parameters. No I/O.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md
"""

from collections.abc import Mapping
from typing import Any

from service.core.errors import MalformedRequest
from service.core.requests import Place

REGION = "shared_memory_region"
OFFSET = "shared_memory_offset"
SIZE = "shared_memory_byte_size"
PREFIX = "shared_memory_"


def place_of(parameters: Mapping[str, Any], where: str) -> Place | None:
    """Return the place of a tensor in shared memory; None if it is not in shared memory.

    Raises:
        MalformedRequest: the parameters do not define a place.
    """
    if REGION not in parameters:
        for name in parameters:
            if name.startswith(PREFIX):
                raise MalformedRequest(f'{where} has "{name:.80}" without "{REGION}"')
        return None
    region = parameters[REGION]
    if type(region) is not str:
        raise MalformedRequest(f'{where}: "{REGION}" must be a string, got {region!r:.40}')
    if SIZE not in parameters:
        raise MalformedRequest(f'{where} has "{REGION}" without "{SIZE}"')
    for name in (OFFSET, SIZE):
        value = parameters.get(name, 0)
        if type(value) is not int or value < 0:
            raise MalformedRequest(f'{where}: "{name}" must be an integer >= 0, got {value!r:.40}')
    return Place(region, parameters.get(OFFSET, 0), parameters[SIZE])
