from hypothesis import given
from hypothesis import strategies as st

from service.engine.generation.stops import Stops

text = st.text(alphabet="ab.", max_size=30)


@given(text, st.lists(st.text(alphabet="ab.", min_size=1, max_size=4), max_size=4), st.data())
def test_pieces_of_any_size_stop_at_the_same_place(
    whole: str, strings: list[str], data: st.DataObject
) -> None:
    stops, told, rest = Stops(strings), "", whole
    while rest and not stops.found:
        size = data.draw(st.integers(1, len(rest)))
        told += stops.push(rest[:size])
        assert not any(each in told for each in strings)
        rest = rest[size:]
    ends = [place + len(each) for each in strings if (place := whole.find(each)) >= 0]
    assert stops.found == bool(ends)
    if not ends:
        assert told + stops.flush() == whole
        return
    # The first complete stop string ends the text; of several in one piece the first to begin.
    assert whole.startswith(told)
    assert any(whole[len(told) :].startswith(each) for each in strings)
    assert stops.push("more") == stops.flush() == ""


def test_text_that_may_begin_a_stop_string_is_held_back() -> None:
    stops = Stops(["\nUser:"])
    assert stops.push("Hello\nUs") == "Hello"
    assert stops.push("eful") == "\nUseful"
    assert stops.push("\n") == ""
    assert stops.flush() == "\n"


def test_all_text_passes_without_stop_strings() -> None:
    assert Stops([""]).push("text") == "text"
