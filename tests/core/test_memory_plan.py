"""The shares of memory fit on small and large machines."""

from hypothesis import given
from hypothesis import strategies as st

from service.core.memory_plan import LARGEST_TRAFFIC, SMALLEST_TRAFFIC, share_out

MIB = 2**20
GIB = 2**30


@given(st.integers(0, 2**45), st.integers(0, 2**34))
def test_shares_never_exceed_the_total(total: int, base: int) -> None:
    plan = share_out(total, base)
    assert plan.total == total
    assert plan.models >= 0
    assert SMALLEST_TRAFFIC <= plan.traffic <= LARGEST_TRAFFIC
    assert plan.models + plan.traffic == total or total < SMALLEST_TRAFFIC


@given(st.integers(0, 2**40), st.integers(0, 2**30), st.integers(0, 2**30))
def test_more_memory_never_reduces_a_share(total: int, more: int, base: int) -> None:
    small, large = share_out(total, base), share_out(total + more, base)
    assert small.traffic <= large.traffic
    assert small.models <= large.models


def test_a_small_container_leaves_memory_for_the_process() -> None:
    plan = share_out(128 * MIB, 100 * MIB)
    assert plan.models >= 100 * MIB
    assert plan.traffic == 14 * MIB


def test_a_container_of_512_mib_accepts_a_binary_body_of_64_mib() -> None:
    assert share_out(512 * MIB, 100 * MIB).traffic >= 3 * 64 * MIB


def test_most_memory_of_a_usual_machine_is_for_models() -> None:
    assert share_out(24 * GIB, 100 * MIB).models == 20 * GIB
    assert share_out(8 * GIB, 0).models == 6 * GIB
