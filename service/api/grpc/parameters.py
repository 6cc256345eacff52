"""Parameters of a request as the values that they have in JSON."""

from collections.abc import Mapping
from typing import Any

from service.core.errors import MalformedRequest

MOST_PARAMETERS = 256


def values(parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Names and values; one that is not set is left out.

    Raises:
        MalformedRequest: there are too many.
    """
    if len(parameters) > MOST_PARAMETERS:
        raise MalformedRequest(
            f"{where} has {len(parameters)} parameters, at most {MOST_PARAMETERS} are taken"
        )
    chosen = {name: each.WhichOneof("parameter_choice") for name, each in parameters.items()}
    return {name: getattr(parameters[name], kind) for name, kind in chosen.items() if kind}
