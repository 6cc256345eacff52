"""The protocol's datatypes: each is a single object in a process."""

import pickle

import pytest

from service.core.datatypes import DATATYPES, wanted


@pytest.mark.parametrize("name", DATATYPES)
def test_unpickling_returns_the_same_datatype_object(name: str) -> None:
    datatype = DATATYPES[name]
    assert pickle.loads(pickle.dumps(datatype)) is datatype
    assert str(datatype) == name
    assert datatype.size == (0 if name == "BYTES" else datatype.dtype.itemsize)


def test_accepted_values_are_described() -> None:
    assert wanted(DATATYPES["INT8"]) == "integer values from -128 to 127"
    assert wanted(DATATYPES["FP16"]) == "number values"
    assert wanted(DATATYPES["BOOL"]) == "boolean values"
