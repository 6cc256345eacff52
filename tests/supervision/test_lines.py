"""Messages are decoded completely, however the bytes are split."""

from hypothesis import given
from hypothesis import strategies as st

from service.supervision.lines import Lines, encoded

MESSAGES = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=30)), max_size=8)


@given(MESSAGES, st.integers(1, 20))
def test_messages_are_decoded_however_they_are_split(
    messages: list[dict[str, str]], step: int
) -> None:
    data = b"".join(map(encoded, messages))
    lines = Lines()
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert [message for piece in pieces for message in lines.feed(piece)] == messages
