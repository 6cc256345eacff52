"""The fields of workers in shared memory, and the choice of a worker for a new connection."""

from hypothesis import given
from hypothesis import strategies as st

from service.supervision.board import Board, size


def board(*connections: int) -> Board:
    it = Board(bytearray(size(len(connections))), len(connections))
    for worker, count in enumerate(connections):
        it.set_connections(worker, count)
    return it


def test_each_worker_has_its_own_fields() -> None:
    it = board(3, 5)
    it.beat(1, 12.5)
    assert (it.last_beat(0), it.last_beat(1)) == (0.0, 12.5)
    assert (it.connections(0), it.connections(1)) == (3, 5)
    it.clear(1)
    assert (it.last_beat(1), it.connections(1), it.connections(0)) == (0.0, None, 3)


def test_flags_are_set_and_read() -> None:
    it = board(0)
    assert not it.ready and not it.stopping
    it.set_ready()
    it.set_stopping()
    assert it.ready and it.stopping


def test_a_worker_sees_whether_the_others_run_a_model() -> None:
    it = board(1, 1, 1)
    assert it.others_idle(0)
    it.set_busy(0, busy=True)
    assert it.others_idle(0) and not it.others_idle(1) and not it.others_idle(2)
    it.set_busy(2, busy=True)
    it.set_busy(0, busy=False)
    assert not it.others_idle(0) and it.others_idle(2)
    it.clear(2)  # it has crashed
    assert it.others_idle(0)


def test_a_second_connection_goes_to_an_idle_worker() -> None:
    assert board(1, 0).emptiest(0, 2) == 1
    assert board(0, 0).emptiest(0, 1) == 0


def test_a_closed_worker_gets_no_connections() -> None:
    it = board(5, 0)
    it.close(1)
    assert it.emptiest(0, 6) == 0


@given(st.lists(st.integers(0, 200), min_size=2, max_size=5))
def test_moves_only_make_the_distribution_more_even(counts: list[int]) -> None:
    it = board(*counts)
    target = it.emptiest(0, counts[0] + 1)
    if target:
        assert counts[target] + 1 < counts[0] + 1


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_few_connections_are_spread_evenly_wherever_they_arrive(arrivals: list[int]) -> None:
    counts = [0] * 4
    it = board(*counts)
    for worker in arrivals:
        target = it.emptiest(worker, counts[worker] + 1)
        counts[target] += 1
        it.set_connections(target, counts[target])
    if len(arrivals) <= 28:
        assert max(counts) - min(counts) <= 2


def test_connections_go_only_to_workers_that_share_the_port() -> None:
    it = Board(bytearray(size(3)), 3, 2)
    for worker, count in enumerate((5, 4, 0)):
        it.set_connections(worker, count)
    assert it.emptiest(0, 7) == 1
