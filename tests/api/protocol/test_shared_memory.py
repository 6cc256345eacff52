"""The place of a tensor is read from its parameters; invalid parameters are refused."""

from typing import Any

import pytest

from service.api.protocol.shared_memory import place_of
from service.core.errors import MalformedRequest
from service.core.requests import Place

WHOLE = {"shared_memory_region": "r", "shared_memory_byte_size": 8}


def test_the_offset_of_a_place_is_optional() -> None:
    assert place_of({}, "") is None
    assert place_of({"binary_data_size": 4}, "") is None
    assert place_of(WHOLE, "") == Place("r", 0, 8)
    assert place_of(WHOLE | {"shared_memory_offset": 4}, "") == Place("r", 4, 8)


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"shared_memory_region": "r"}, 'without "shared_memory_byte_size"'),
        ({"shared_memory_byte_size": 8}, 'without "shared_memory_region"'),
        ({"shared_memory_offset": 8}, 'without "shared_memory_region"'),
        (WHOLE | {"shared_memory_region": 3}, "must be a string, got 3"),
        (WHOLE | {"shared_memory_byte_size": -1}, "must be an integer >= 0, got -1"),
        (WHOLE | {"shared_memory_byte_size": 1.5}, "must be an integer >= 0, got 1.5"),
        (WHOLE | {"shared_memory_offset": True}, "must be an integer >= 0, got True"),
        (WHOLE | {"shared_memory_offset": None}, "must be an integer >= 0, got None"),
    ],
)
def test_invalid_places_are_refused(parameters: dict[str, Any], why: str) -> None:
    with pytest.raises(MalformedRequest, match=f'^input "x".*{why}'):
        place_of(parameters, 'input "x"')
