"""The protocol's datatypes, one object of each in a process."""

import pickle

import pytest

from service.core.datatypes import DATATYPES, wanted


@pytest.mark.parametrize("name", DATATYPES)
def test_a_datatype_stays_itself_in_another_process(name: str) -> None:
    datatype = DATATYPES[name]
    assert pickle.loads(pickle.dumps(datatype)) is datatype
    assert str(datatype) == name
    assert datatype.size == (0 if name == "BYTES" else datatype.dtype.itemsize)


def test_what_it_takes_is_said_for_people() -> None:
    assert wanted(DATATYPES["INT8"]) == "integer values from -128 to 127"
    assert wanted(DATATYPES["FP16"]) == "number values"
    assert wanted(DATATYPES["BOOL"]) == "boolean values"
