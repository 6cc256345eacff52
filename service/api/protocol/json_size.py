"""The number of values in a JSON document, counted before it is parsed. No I/O."""

import numpy as np

from service.api.protocol.json_tensors import Bytes
from service.api.protocol.non_finite import in_strings
from service.core.errors import MalformedRequest
from service.core.sizes import MAX_JSON_VALUES

CONTAINER = 3
"""A list or object counts as this many values: an empty list needs twice the memory of a number."""
WEIGHTS = np.zeros(256, np.uint8)
WEIGHTS[list(b",")] = 1
WEIGHTS[list(b"[{")] = CONTAINER


def check_size(
    document: Bytes | memoryview,
    most: int = MAX_JSON_VALUES,
    instead: str = "send fewer rows, or binary tensor data",
) -> None:
    """Refuse JSON with more than ``most`` values.

    Raises:
        MalformedRequest: there are too many values; the message says what to send ``instead``.
    """
    body = document if not isinstance(document, memoryview) else bytes(document)
    commas = body.count(b",")
    if commas + CONTAINER * (body.count(b"[") + body.count(b"{")) <= most:
        return
    if (found := values(body)) > most:
        raise MalformedRequest(
            f"the JSON has {found} values, where a list counts as {CONTAINER},"
            f" at most {most} are allowed: {instead}"
        )


def values(body: Bytes) -> int:
    """Return the weighted number of values in a JSON document, without the content of strings."""
    text, total = np.frombuffer(body, np.uint8), 0
    for start, within in in_strings(bytes(body)):
        weights = WEIGHTS[text[start : start + len(within)]]
        total += int(weights[~within].sum())
    return total
