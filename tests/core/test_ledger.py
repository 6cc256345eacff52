"""Work in progress is read from the table only, as another process would read it."""

import mmap

from hypothesis import given
from hypothesis import strategies as st

from service.core.ledger import SIZE, SLOTS, UNNOTED, Ledger, Work, read_work

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
WORKS = st.builds(Work, NAMES, st.integers(1, 10**18 - 1))


@given(st.lists(WORKS, max_size=20), st.data())
def test_the_table_lists_work_that_began_and_has_not_ended(
    works: list[Work], data: st.DataObject
) -> None:
    table = bytearray(SIZE)
    ledger = Ledger(table)
    marks = [(work, ledger.mark(work)) for work in works]
    busy = set()
    for work, mark in marks:
        if data.draw(st.booleans()):
            mark.begin()
            busy.add(work)
    assert read_work(bytes(table)) == tuple(sorted(busy))
    for _, mark in marks:
        ledger.release(mark)
    assert read_work(bytes(table)) == ()


def test_the_table_may_be_memory_that_processes_share() -> None:
    table = mmap.mmap(-1, SIZE)
    with Ledger(table).at_work(Work("digits", 2)):
        assert read_work(table[:]) == (Work("digits", 2),)
    assert read_work(table[:]) == ()


def test_failed_work_is_removed_from_the_table() -> None:
    table = bytearray(SIZE)
    try:
        with Ledger(table).at_work(Work("digits", 2)):
            raise ValueError
    except ValueError:
        pass
    assert read_work(bytes(table)) == ()


def test_work_continues_unrecorded_without_a_free_slot() -> None:
    table = bytearray(SIZE)
    ledger = Ledger(table)
    marks = [ledger.mark(Work("m", n + 1)) for n in range(SLOTS)]
    beyond = ledger.mark(Work("m", SLOTS + 1))
    assert beyond is UNNOTED
    beyond.begin()
    assert read_work(bytes(table)) == ()
    ledger.release(beyond)
    ledger.release(marks[0])
    again = ledger.mark(Work("n", 1))
    again.begin()
    assert read_work(bytes(table)) == (Work("n", 1),)


@given(st.binary(max_size=4 * 256))
def test_a_damaged_table_is_read_without_an_error(table: bytes) -> None:
    read_work(table)
