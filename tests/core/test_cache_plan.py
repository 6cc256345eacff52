import pytest

from service.core.cache_plan import CachePlan, Room, plan_cache
from service.core.errors import LoadFailed

MB = 2**20
TOKEN = 46 * 1024
"""SmolLM2-135M in FP32."""


def test_requested_context_and_slots_that_fit_are_used() -> None:
    assert plan_cache(TOKEN, Room(10**12, 10**12), 8192, 8, 4096) == CachePlan(8, 4096)


def test_default_context_is_the_models_up_to_a_share_of_memory() -> None:
    assert plan_cache(TOKEN, Room(10**12, 10**12), 8192, 8, None).context == 8192
    share = plan_cache(TOKEN, Room(8 * TOKEN * 4 * 1000, 10**12), 8192, 8, None)
    assert share == CachePlan(8, 1000)


def test_memory_reserved_by_others_is_not_used() -> None:
    room = Room(10**12, 8 * TOKEN * 700)
    assert plan_cache(TOKEN, room, 8192, 8, None) == CachePlan(8, 700)


@pytest.mark.parametrize(("context", "kept"), [(None, 256), (1000, 1000)])
def test_slots_are_reduced_if_the_least_context_does_not_fit(
    context: int | None, kept: int
) -> None:
    found = plan_cache(TOKEN, Room(10**12, TOKEN * kept * 5), 8192, 8, context, step=2)
    assert (found.slots, found.context) == (4, kept)
    assert found.note.endswith("4 requests decode at a time, not 8")


def test_a_cache_that_does_not_fit_is_refused_with_figures() -> None:
    why = (
        "keys and values of 4096 tokens take 184 MB a request, and 100 MB of the memory budget are"
        " left, too little for 8 at a time: set .generation. context to 278, or unload"
    )
    with pytest.raises(LoadFailed, match=why):
        plan_cache(TOKEN, Room(10**12, 100 * MB), 8192, 8, 4096, fewer=False)
    assert plan_cache(TOKEN, Room(10**12, 100 * MB), 8192, 8, 278, fewer=False).context == 278
    with pytest.raises(LoadFailed, match="are left, too little for 1 at a time: unload"):
        plan_cache(TOKEN, Room(10**12, 0), 8192, 8, None)


def test_requested_slots_are_not_reduced() -> None:
    with pytest.raises(LoadFailed, match="too little for 8 at a time"):
        plan_cache(TOKEN, Room(10**12, TOKEN * 256 * 5), 8192, 8, None, fewer=False)
    assert (
        plan_cache(TOKEN, Room(10**12, TOKEN * 256 * 9), 8192, 8, None, fewer=False).context == 288
    )


@pytest.mark.parametrize("left", [0, 1, TOKEN, 300 * TOKEN, 5000 * TOKEN, 10**12])
@pytest.mark.parametrize("total", [10**6, 10**9, 10**12])
@pytest.mark.parametrize("context", [None, 2, 300, 8192])
@pytest.mark.parametrize("step", [1, 2, 8])
def test_a_plan_never_exceeds_the_free_memory(
    left: int, total: int, context: int | None, step: int
) -> None:
    try:
        found = plan_cache(TOKEN, Room(total, left), 8192, 8, context, step=step)
    except LoadFailed:
        return
    assert 1 <= found.slots <= 8 and 2 <= found.context <= 8192
    assert found.slots * found.context * TOKEN <= left
