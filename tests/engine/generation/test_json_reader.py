import json
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

from service.engine.generation.json_reader import JsonReader, Reading, Unreadable

T = TypeVar("T")


def read(
    text: Iterable[str], reading: Callable[[JsonReader], Reading[T]], *, over: bool = True
) -> tuple[T, str]:
    """Return the result of a reading of pieces, and the text that it has read."""
    reader = JsonReader()
    going = reading(reader)
    for piece in text:
        reader.push(piece)
        try:
            next(going)
        except StopIteration as end:
            return end.value, reader.take()
    reader.over = over
    next(going)
    raise AssertionError("it waits for more")


@pytest.mark.parametrize(
    "value", ['"a\\"}"', '"\\\\"', '{"a": "}\\"", "b": [{}, []]}', "[[], 5]", "-1.5e+3", "null"]
)
def test_the_end_of_a_value_is_found(value: str) -> None:
    for text in (f" {value}, 5", f"\n{value}]"):
        for pieces in ([text], list(text)):
            assert read(pieces, JsonReader.value) == (value, text[: 1 + len(value)])


def test_a_string_is_decoded() -> None:
    assert read(json.dumps('ä"\n') + " ", JsonReader.string)[0] == 'ä"\n'


@pytest.mark.parametrize("text", ["5 ", '"\n"', '"\\ud800"', '"\\x"', '"', ""])
def test_what_is_not_a_string_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text, JsonReader.string)


@pytest.mark.parametrize("text", ["]", "@", "[1, 2", '{"a', "12"])
def test_what_is_not_a_whole_value_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text, JsonReader.skip)


def test_a_reading_waits_for_the_next_piece() -> None:
    with pytest.raises(AssertionError, match="waits"):
        read("[1, 2", JsonReader.skip, over=False)


def test_a_literal_is_read_whole_or_not_at_all() -> None:
    assert read("<tool>", lambda reader: reader.literal("<tool")) == (True, "<tool")
    assert read("<town>", lambda reader: reader.literal("<tool")) == (False, "")


def test_text_is_taken_once_and_up_to_a_mark() -> None:
    reader = JsonReader()
    reader.push("one <to")
    assert not reader.stop_at("<tool>") and reader.take() == "one "
    reader.push("w <tool> two")
    assert reader.stop_at("<tool>") and reader.take() == "<tow "
    assert reader.take_all() == "<tool> two" and reader.take_all() == ""
