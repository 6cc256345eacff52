"""Protobuf's text format is read as Triton reads it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ConfigError
from service.triton.text import parse

REPEATED = frozenset({"dims", "input"})


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ('name: "m"  # with a comment', {"name": "m"}),
        ("name: 'it''s' ", {"name": "its"}),
        ('name: "a" "b"\n  "c"', {"name": "abc"}),
        (r'name: "\x41\n\"\u00e9"', {"name": 'A\n"é'}),
        ("a: 8 b: -1 c: 0x10, d: 1.5; e: 2e3", {"a": 8, "b": -1, "c": 16, "d": 1.5, "e": 2000.0}),
        ("a: true b: false c: KIND_CPU", {"a": True, "b": False, "c": "KIND_CPU"}),
        ("a { b: 1 } c: { } d < e: 2 >", {"a": {"b": 1}, "c": {}, "d": {"e": 2}}),
        ("dims: [ 3, -1 ]", {"dims": [3, -1]}),
        ("dims: 3 dims: -1", {"dims": [3, -1]}),
        ("dims: []", {"dims": []}),
        (
            "input { dims: 1 } input [ { dims: [2] }, {} ]",
            {"input": [{"dims": [1]}, {"dims": [2]}, {}]},
        ),
        ("a: 1 a: 2", {"a": 2}),
    ],
)  # fmt: skip
def test_documents_are_parsed(text: str, document: dict[str, Any]) -> None:
    assert parse(text, REPEATED) == document


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name "m"', 'line 1:6 : \'name "m"\': expected ":" or "{" after "name"'),
        ("a: 1\nb {", "line 2:4 : '': expected \"}\", got the end of the file"),
        ("a: [1 2]", "line 1:7"),
        ("}", "line 1:1"),
        ('a: "x', "ending quote"),
        ("a: 08", "octal"),
        ("a: \\", "line 1:4"),
        ("x {" * 1000, "messages are nested more than 32 deep"),
    ],
)
def test_errors_name_the_position(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, REPEATED)
    assert told in str(error.value) and len(str(error.value)) < 250


@given(st.text(st.sampled_from("ab{}<>[]:;,\"'\\#\n 0x-1.e"), max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        assert isinstance(parse(text, REPEATED), dict)
    except ConfigError as error:
        assert str(error).startswith("line ")
