"""Every error that can leave the server has a status."""

from service.api.protocol.errors import STATUS, status_of
from service.core.errors import QuantserveError


def leaves(root: type[QuantserveError]) -> list[type[QuantserveError]]:
    children = root.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [root]


def test_every_leaf_has_a_status_of_its_own() -> None:
    assert [leaf.__name__ for leaf in leaves(QuantserveError) if leaf not in STATUS] == []


def test_a_stranger_is_an_internal_error() -> None:
    assert status_of(KeyError("x")) == 500
