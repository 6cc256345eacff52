"""The values of a JSON document are counted before it is parsed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.protocol import non_finite
from service.api.protocol.json_size import CONTAINER, check_size, values
from service.core.errors import MalformedRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(alphabet='a,[{"\\é'),
    lambda below: st.lists(below) | st.dictionaries(st.text(alphabet='b,"\\['), below),
)


def weight(value: object) -> int:
    """Return the number of commas and containers of a value, as the limit counts them."""
    if not isinstance(value, list | dict):
        return 0
    below = value.values() if isinstance(value, dict) else value
    return CONTAINER + max(0, len(value) - 1) + sum(map(weight, below))


@given(JSON, st.integers(1, 20))
def test_the_content_of_strings_is_not_counted(value: object, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(non_finite, "PIECE", piece)
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            assert values(text.encode()) == weight(value)


def test_a_document_above_the_limit_is_refused_with_advice() -> None:
    check_size(b'{"a": [' + b",".join([b"1"] * 5) + b"]}", 10)
    check_size(b'{"a": "' + b"," * 99 + b'"}', 10)
    for document in (b"[1,1,1,1,1,1,1,1,1]", b"[[],[],[]]", memoryview(b"[{},{},{}]")):
        with pytest.raises(MalformedRequest, match="at most 10 are allowed: send fewer rows"):
            check_size(document, 10)


@given(JSON, st.integers(8, 40))
def test_tokens_split_between_two_pieces_are_found(value: object, piece: int) -> None:
    text = json.dumps([value, "NaN", float("nan"), float("-inf"), float("inf"), value] * 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(non_finite, "PIECE", piece)
        found = non_finite.loads(text.encode())
    assert repr(found) == repr(json.loads(text))
