"""Parameters of a request as JSON values."""

from collections.abc import Mapping
from typing import Any

from service.core.errors import MalformedRequest

MOST_PARAMETERS = 256


def values(parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the parameters by name, without parameters that have no value.

    Raises:
        MalformedRequest: there are too many parameters.
    """
    if len(parameters) > MOST_PARAMETERS:
        raise MalformedRequest(
            f"{where} has {len(parameters)} parameters, at most {MOST_PARAMETERS} are allowed"
        )
    chosen = {name: each.WhichOneof("parameter_choice") for name, each in parameters.items()}
    return {name: getattr(parameters[name], kind) for name, kind in chosen.items() if kind}
