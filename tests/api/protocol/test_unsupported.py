"""Unsupported parameters that would change the answers are refused by name."""

import pytest

from service.api.protocol.unsupported import refuse_sequence
from service.core.errors import MalformedRequest


@pytest.mark.parametrize("name", ["sequence_id", "sequence_start", "sequence_end"])
def test_a_request_of_a_sequence_is_refused(name: str) -> None:
    with pytest.raises(MalformedRequest, match=f'"{name}" is 7: sequences are not supported'):
        refuse_sequence({name: 7})


def test_an_empty_sequence_id_is_ignored() -> None:
    refuse_sequence({"sequence_id": 0, "sequence_start": False, "sequence_end": False})
    refuse_sequence({"sequence_id": "", "priority": 1, "triton_enable": True})
