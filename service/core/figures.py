"""Numbers as JSON. JSON has no NaN and infinity: they become null everywhere except in inference
bodies (``api.protocol.non_finite``). Pure.
"""

import json
import math
from typing import Any


def finite(value: Any) -> Any:
    """Copy dicts, lists and scalars, with None for each float that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def dumps(value: Any, indent: int | None = None) -> str:
    """Encode as JSON that strict parsers accept."""
    return json.dumps(finite(value), indent=indent, allow_nan=False)
