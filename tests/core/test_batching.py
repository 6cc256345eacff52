"""The queue forms batches by rows, keys, priority and time; no test here waits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.batching import BatchKey, BatchPolicy, BatchQueue, Entry
from service.core.errors import QueueFull


def entry(
    rows: int = 1, at: float = 0.0, width: int = 2, priority: int = 2, deadline: float | None = None
) -> Entry[None]:
    arrays = (np.full((rows, width), at, np.float32),)
    return Entry(arrays, rows, BatchKey(((width,),), None), priority, at, deadline, None)


def queue(**policy: float) -> BatchQueue[None]:
    return BatchQueue(BatchPolicy(**policy))  # type: ignore[arg-type]


def test_a_batch_takes_what_fits_oldest_first() -> None:
    q = queue(preferred_rows=4)
    for rows in (2, 1, 3):
        q.push(entry(rows))
    batch = q.pop(0.0)
    assert batch is not None
    assert [e.rows for e in batch.entries] == [2, 1]
    assert len(q) == 1


def test_a_request_larger_than_preferred_goes_alone() -> None:
    q = queue(preferred_rows=2)
    q.push(entry(5))
    q.push(entry(1))
    batch = q.pop(0.0)
    assert batch is not None and batch.rows == 5


def test_requests_of_different_shapes_never_share_a_batch() -> None:
    q = queue()
    q.push(entry(width=2))
    q.push(entry(width=3))
    batch = q.pop(0.0)
    assert batch is not None and len(batch.entries) == 1


def test_a_more_urgent_request_goes_first() -> None:
    q = queue()
    q.push(entry(at=0.0))
    q.push(entry(at=1.0, priority=1))
    batch = q.pop(1.0)
    assert batch is not None and batch.entries[0].priority == 1


def test_the_oldest_entry_sets_the_due_time() -> None:
    q = queue(max_delay=0.5)
    q.push(entry(at=1.0))
    q.push(entry(at=1.3))
    assert q.due() == 1.5
    assert q.pop(1.4) is None
    batch = q.pop(1.5)
    assert batch is not None and batch.rows == 2


def test_a_full_batch_does_not_wait() -> None:
    q = queue(max_delay=0.5, preferred_rows=2)
    q.push(entry(at=1.0))
    q.push(entry(at=1.0))
    assert q.pop(1.0) is not None


def test_only_full_batches_are_taken_early() -> None:
    waiting = queue(preferred_rows=2)
    for width in (1, 2, 2):
        waiting.push(entry(width=width))
    full = waiting.pop(0.0, full=True)
    assert full is not None and full.rows == 2
    assert waiting.pop(0.0, full=True) is None and len(waiting) == 1
    assert waiting.pop(0.0) is not None


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 4), st.integers(0, 9))
def test_idle_instances_divide_the_waiting_rows(
    sizes: list[int], idle: int, divided_rows: int
) -> None:
    waiting = queue(preferred_rows=16, divided_rows=divided_rows)
    for rows in sizes:
        waiting.push(entry(rows))
    left, taken = sum(sizes), list[int]()
    for others in range(idle, 0, -1):
        batch = waiting.pop(0.0, idle=others)
        if batch is None:
            break
        share = max(divided_rows, -(-left // others)) if divided_rows and others > 1 else 16
        assert len(batch.entries) == 1 or batch.rows <= min(16, share)
        left -= batch.rows
        taken += [each.rows for each in batch.entries]
    assert taken == sizes[: len(taken)]


def test_a_share_has_enough_rows_to_be_worth_a_run() -> None:
    waiting = queue(preferred_rows=64, divided_rows=4)
    for _ in range(22):
        waiting.push(entry())
    popped = [batch.rows for idle in (2, 1, 2, 2) if (batch := waiting.pop(0.0, idle=idle))]
    assert popped == [11, 11]
    for _ in range(6):
        waiting.push(entry())
    popped = [batch.rows for _ in range(4) if (batch := waiting.pop(0.0, idle=2))]
    assert popped == [4, 2]


def test_a_full_queue_refuses_requests() -> None:
    q = queue(max_queue=1)
    q.push(entry())
    with pytest.raises(QueueFull, match="limit of 1"):
        q.push(entry())
    assert len(q) == 1


def test_less_urgent_requests_do_not_fill_the_queue_for_others() -> None:
    q = queue(max_queue=2, preferred_rows=1)
    for _ in range(2):
        q.push(entry(priority=3))
    with pytest.raises(QueueFull, match="2 requests are waiting"):
        q.push(entry(priority=3))
    for _ in range(2):
        q.push(entry(priority=2))
    with pytest.raises(QueueFull, match="4 requests are waiting"):
        q.push(entry(priority=1))  # twice the limit wait
    assert [batch.entries[0].priority for _ in range(4) if (batch := q.pop(0.0))] == [2, 2, 3, 3]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["whole", "part", "pop", "drop"]), st.integers(0, 3))))
def test_a_request_in_parts_counts_once_while_a_part_waits(
    plan: list[tuple[str, int]],
) -> None:
    q = queue(preferred_rows=2, max_queue=1000)
    waits: list[Entry[None]] = []
    for what, which in plan:
        if what in ("whole", "part"):
            one = entry()
            one.part_of = str(which) if what == "part" else None
            q.push(one)
            waits.append(one)
        elif what == "pop" and (batch := q.pop(0.0)):
            waits = [each for each in waits if each not in batch.entries]
        elif what == "drop":
            gone = q.remove(lambda each: each.part_of == str(which))  # noqa: B023
            waits = [each for each in waits if each not in gone]
        assert len(q) == len({each.part_of or each for each in waits})
        assert list(q) == waits


def test_requests_past_their_deadline_are_removed() -> None:
    q = queue()
    q.push(entry(deadline=1.0))
    q.push(entry(deadline=2.0))
    assert q.next_deadline() == 1.0
    assert q.expire(0.5) == []
    assert [e.deadline for e in q.expire(1.0)] == [1.0]
    assert q.next_deadline() == 2.0


def test_a_batch_may_be_bounded_by_tokens() -> None:
    q = queue(run_tokens=32, preferred_rows=2, max_rows=8)
    for width in (16, 3):
        for _ in range(10):
            q.push(entry(width=width))
    sizes = []
    while batch := q.pop(0.0):
        sizes.append((batch.entries[0].arrays[0].shape[1], batch.rows))
    assert sizes == [(16, 2)] * 5 + [(3, 8), (3, 2)]


def test_a_row_longer_than_the_bound_goes_alone() -> None:
    q = queue(run_tokens=32)
    for _ in range(2):
        q.push(entry(width=100))
    batch = q.pop(0.0)
    assert batch is not None and batch.rows == 1
