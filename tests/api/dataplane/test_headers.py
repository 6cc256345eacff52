"""The length of the JSON in front of binary tensors is a number, or there is none."""

import pytest

from service.api.dataplane.headers import header_length
from service.core.errors import MalformedRequest

NAME = b"inference-header-content-length"


def test_a_body_without_binary_tensors_has_no_length() -> None:
    assert header_length({b"content-length": b"7"}) is None


@pytest.mark.parametrize("value", [b"0", b"17", b"9" * 18])
def test_a_length_is_a_number(value: bytes) -> None:
    assert header_length({NAME: value}) == int(value)


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"+1", b"1.5", b"1_0", b"9" * 19, b"\xb2", b"x" * 99]
)
def test_other_values_are_refused(value: bytes) -> None:
    """At most 40 characters of the value are quoted."""
    with pytest.raises(MalformedRequest, match='Length "[^"]{0,40}" is not a length'):
        header_length({NAME: value})
