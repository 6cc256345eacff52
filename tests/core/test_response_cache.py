"""Equal requests are found in the cache, different ones are not, and the limit is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.response_cache import OVERHEAD, ResponseCache, key_of
from service.core.sizes import HERE_COPY
from service.core.tensors import Arrays, Overriding


def outputs(value: float, values: int = 4) -> Arrays:
    return (np.full(values, value, np.float32),)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60), st.booleans()), max_size=60))
def test_the_cache_keeps_the_latest_entries_within_its_limit(
    steps: list[tuple[int, int, bool]],
) -> None:
    limit = 3 * (OVERHEAD + 4 * 40)
    cache, put = ResponseCache(limit), dict[bytes, int]()
    for name, size, asks in steps:
        key = b"%d" % name
        found = cache.get(key)
        if found is not None:
            assert [array.shape for array in found] == [(put[key],)]
            assert found[0][0] == name
        if not asks:
            cache.put(key, outputs(name, size))
            put[key] = size
            assert cache.get(key) is not None
        assert cache.held <= limit
        assert cache.held == sum(
            OVERHEAD + 4 * put[one] for one in put if one in list(cache._entries)
        )


def test_the_least_recently_used_entry_is_removed_first() -> None:
    cache = ResponseCache(2 * (OVERHEAD + 16))
    cache.put(b"a", outputs(1))
    cache.put(b"b", outputs(2))
    assert cache.get(b"a") is not None
    cache.put(b"c", outputs(3))
    assert [cache.get(key) is None for key in (b"a", b"b", b"c")] == [False, True, False]
    assert len(cache) == 2


def test_cached_outputs_are_read_only_copies() -> None:
    cache, batch = ResponseCache(10_000), np.zeros((8, 4), np.float32)
    cache.put(b"a", (batch[2:3],))
    batch[:] = 7
    found = cache.get(b"a")
    assert found is not None and found[0].tolist() == [[0, 0, 0, 0]]
    assert found[0].base is None
    with pytest.raises(ValueError):
        found[0][:] = 1


def test_entries_larger_than_the_limit_are_not_cached_and_evict_nothing() -> None:
    cache = ResponseCache(1000)
    cache.put(b"a", outputs(1))
    cache.put(b"b", outputs(2, 1000))
    assert cache.get(b"a") is not None and cache.get(b"b") is None


def test_text_characters_count_towards_the_size() -> None:
    cache = ResponseCache(HERE_COPY)
    cache.put(b"a", (np.array(["x" * 5000], object),))
    assert cache.held > 5000


F = np.float32
DIFFERENT = [
    (np.array([[1, 2]], F),),
    (np.array([[1], [2]], F),),
    (np.array([[1, 2]], np.int32),),
    (np.array([[1, 2]], np.float64),),
    (np.array([[1, 3]], F),),
    (np.array([[1]], F), np.array([[2]], F)),
    (np.array([["ab", "c"]], object),),
    (np.array([["a", "bc"]], object),),
    (np.array([["\ud800", "c"]], object),),
    Overriding((np.array([[1, 2]], F),), {"w": np.array([1], F)}),
    Overriding((np.array([[1, 2]], F),), {"v": np.array([1], F)}),
    (np.zeros((0, 2), F),),
    (np.zeros((2, 0), F),),
]


def test_different_requests_have_different_keys() -> None:
    asked = [(arrays, None, False) for arrays in DIFFERENT]
    asked += [(DIFFERENT[0], (0,), False), (DIFFERENT[0], (1,), False), (DIFFERENT[0], None, True)]
    keys = [key_of(*each) for each in asked]
    assert len(set(keys)) == len(asked)


def test_equal_arrays_have_equal_keys_in_any_memory_layout() -> None:
    wide = np.arange(8, dtype=F).reshape(2, 4)
    apart = wide[:, ::2]
    assert not apart.flags.c_contiguous
    assert key_of((apart,), None, False) == key_of((apart.copy(),), None, False)


def test_large_inputs_have_no_key() -> None:
    assert key_of((np.zeros(HERE_COPY + 1, np.uint8),), None, False) is None
    assert key_of((np.zeros(HERE_COPY, np.uint8),), None, False) is not None
