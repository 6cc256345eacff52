"""The class hierarchy of errors is the one in the module's docstring."""

import pickle
import re

import pytest

from service.core import errors
from service.core.checks import Check
from service.core.errors import GateFailed, QuantserveError, UploadRejected

INDENT = 4
"""Characters of each level of the tree."""


def drawn() -> list[tuple[str, str]]:
    """Return (class, parent) for each line of the tree."""
    found: list[tuple[str, str]] = []
    branch: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([│├└─ ]*)(\w+)(  |$)", line):
            depth = len(match[1]) // INDENT
            branch[depth:] = [match[2]]
            found.append((match[2], branch[depth - 1] if depth else "Exception"))
    return found


def defined() -> list[tuple[str, str]]:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    return [
        (each.__name__, each.__bases__[0].__name__)
        for each in classes
        if issubclass(each, QuantserveError)
    ]


def test_the_tree_of_the_docstring_is_that_of_the_classes() -> None:
    assert drawn() == defined()
    assert drawn()[0] == ("QuantserveError", "Exception")


def test_a_failed_gate_has_its_checks() -> None:
    checks = (Check("golden", "cosine", 0.5, 0.9, False),)
    error = GateFailed('model "m" version 2 is not fit to serve', "golden: cosine", checks)
    assert str(error) == 'model "m" version 2 is not fit to serve: golden: cosine'
    assert (error.reason, error.checks) == ("golden: cosine", checks)


@pytest.mark.parametrize(
    "error", [errors.MalformedRequest("no JSON"), UploadRejected("no data", ("w.bin",))]
)
def test_errors_survive_pickling_from_the_codec_process(error: QuantserveError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
