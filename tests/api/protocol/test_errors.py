"""Every error that can leave the server has a status."""

from service.api.protocol.errors import STATUS, status_of
from service.core.errors import QuantserveError


def leaves(root: type[QuantserveError]) -> list[type[QuantserveError]]:
    children = root.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [root]


def test_every_leaf_has_a_status() -> None:
    """Its own, or that of the error of which it is a kind; 500 is for what is no error of ours."""
    without = [leaf for leaf in leaves(QuantserveError) if not set(leaf.__mro__) & set(STATUS)]
    assert [leaf.__name__ for leaf in without] == []


def test_a_stranger_is_an_internal_error() -> None:
    assert status_of(KeyError("x")) == 500
