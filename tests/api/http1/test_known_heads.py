"""Heads that were parsed before."""

import pytest

from service.api.http1.known_heads import LONGEST, MOST_HEADERS, KnownHeads
from service.api.http1.request import Head, Header


def head(*headers: Header, keep_alive: bool = True) -> Head:
    return Head(b"POST", b"/", "1.1", list(headers), keep_alive)


def test_a_head_is_found_by_its_bytes() -> None:
    heads, sent, empty = KnownHeads(), head((b"content-length", b"12")), head()
    heads.add(b"one", sent)
    heads.add(b"two", empty)
    assert heads.get(b"one") is sent and heads.get(b"two") is empty
    assert heads.get(b"three") is None


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        (b"x", head(keep_alive=False)),
        (b"x", head((b"transfer-encoding", b"chunked"))),
        (b"x" * (LONGEST + 1), head()),
        (b"x", head(*[(b"a", b"")] * (MOST_HEADERS + 1))),
    ],
)
def test_a_head_that_needs_the_parser_or_is_large_is_not_kept(data: bytes, refused: Head) -> None:
    heads = KnownHeads()
    heads.add(data, refused)
    assert len(heads) == 0 and heads.get(data) is None


def test_the_oldest_heads_are_forgotten() -> None:
    heads = KnownHeads(most=2)
    for data in (b"one", b"two", b"three"):
        heads.add(data, head())
    assert len(heads) == 2
    assert [data for data in (b"one", b"two", b"three") if heads.get(data)] == [b"two", b"three"]
