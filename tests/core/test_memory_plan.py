"""Shares that fit, on small machines and large ones."""

from hypothesis import given
from hypothesis import strategies as st

from service.core.memory_plan import LARGEST_TRAFFIC, SMALLEST_TRAFFIC, share_out

MIB = 2**20
GIB = 2**30


@given(st.integers(0, 2**45), st.integers(0, 2**34))
def test_shares_never_come_to_more_than_there_is(total: int, base: int) -> None:
    plan = share_out(total, base)
    assert plan.total == total
    assert plan.models >= 0
    assert SMALLEST_TRAFFIC <= plan.traffic <= LARGEST_TRAFFIC
    assert plan.models + plan.traffic == total or total < SMALLEST_TRAFFIC


@given(st.integers(0, 2**40), st.integers(0, 2**30), st.integers(0, 2**30))
def test_more_memory_never_leaves_less(total: int, more: int, base: int) -> None:
    small, large = share_out(total, base), share_out(total + more, base)
    assert small.traffic <= large.traffic
    assert small.models <= large.models


def test_the_process_itself_has_room_in_a_small_container() -> None:
    plan = share_out(128 * MIB, 100 * MIB)
    assert plan.models >= 100 * MIB
    assert plan.traffic == 14 * MIB


def test_a_container_of_512_mib_takes_a_binary_body_of_64() -> None:
    assert share_out(512 * MIB, 100 * MIB).traffic >= 3 * 64 * MIB


def test_a_usual_machine_is_nearly_all_for_models() -> None:
    assert share_out(24 * GIB, 100 * MIB).models == 20 * GIB
    assert share_out(8 * GIB, 0).models == 6 * GIB
