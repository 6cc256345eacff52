"""A request is answered by the serving version, or by the version that it names."""

from dataclasses import dataclass
from typing import Any

import pytest

from service.api.dataplane.choice import choose
from service.api.transport.exchange import Exchange
from service.api.transport.target import Target
from service.core.errors import NotFound, SignatureMismatch


@dataclass
class Version:
    language: bool = False


@dataclass
class Repository:
    """Keeps the number of the version that was asked for."""

    found: Version
    number: int | None = 0

    def version(self, model: str, number: int | None) -> Version:
        self.number = number
        return self.found


def exchange(version: str | None) -> Exchange:
    return Exchange(Target("v2", "m", version), b"1")


@pytest.mark.parametrize(("asked", "number"), [(None, None), ("", None), ("12", 12)])
def test_a_request_may_name_a_version(asked: str | None, number: int | None) -> None:
    repository: Any = Repository(Version())
    asking = exchange(asked)
    assert choose(repository, asking) is repository.found
    assert asking.version is repository.found
    assert repository.number == number


@pytest.mark.parametrize("asked", ["0", "01", "-1", "latest", "1" * 19, "x" * 99])
def test_a_name_that_is_no_number_is_not_found(asked: str) -> None:
    """At most 40 characters of the name are quoted."""
    repository: Any = Repository(Version())
    with pytest.raises(NotFound, match='^model "m" version "[^"]{1,40}": not a version number$'):
        choose(repository, exchange(asked))


def test_a_language_model_takes_no_tensors() -> None:
    """The exchange has the version nevertheless: the refusal counts for it."""
    repository: Any = Repository(Version(language=True))
    asking = exchange(None)
    with pytest.raises(SignatureMismatch, match="it is a language model"):
        choose(repository, asking)
    assert asking.version is repository.found
