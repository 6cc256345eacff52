"""Every error that the server can send has a status."""

from service.api.protocol.errors import STATUS, status_of
from service.core.errors import QuantserveError


def leaves(root: type[QuantserveError]) -> list[type[QuantserveError]]:
    children = root.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [root]


def test_every_error_class_has_a_status() -> None:
    """Its own status, or that of a base class; 500 is only for unexpected errors."""
    without = [leaf for leaf in leaves(QuantserveError) if not set(leaf.__mro__) & set(STATUS)]
    assert [leaf.__name__ for leaf in without] == []


def test_an_unexpected_error_is_an_internal_error() -> None:
    assert status_of(KeyError("x")) == 500
