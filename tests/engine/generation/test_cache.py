import numpy as np

from service.engine.generation.cache import Cache
from service.engine.generation.kept_prompts import Move
from service.engine.host.resources import resident_bytes


def test_sizes_of_the_cache() -> None:
    cache = Cache(3, (4, 2, 100, 16), np.float16)
    assert cache.token_bytes == 2 * 3 * 2 * 16 * 2
    assert cache.most_bytes == 4 * 100 * cache.token_bytes


def test_memory_grows_with_the_rows() -> None:
    before = resident_bytes()
    cache = Cache(8, (8, 4, 8192, 64), np.float32)
    assert cache.most_bytes == 2**30
    for pair in cache.layers:
        for array in pair:
            array[0, :, :100] = 1
    assert resident_bytes() - before < 2**27


def test_an_exchange_keeps_what_was_there() -> None:
    cache = Cache(2, (3, 2, 9, 4), np.float32)
    for pair in cache.layers:
        for array in pair:
            array[0], array[2] = 5, 7
    cache.move(Move(2, 0, 3, 4))
    for pair in cache.layers:
        for array in pair:
            assert (array[0, :, :3] == 7).all() and (array[0, :, 3:] == 5).all()
            assert (array[2, :, :4] == 5).all() and (array[2, :, 4:] == 7).all()
    assert cache.held_bytes == (3 + 4) * cache.token_bytes


def test_moving_a_row_does_not_change_others() -> None:
    cache = Cache(1, (3, 2, 5, 4), np.float32)
    keys, values = cache.layers[0]
    keys[2], values[2] = 7, 8
    cache.move(Move(2, 0, 3))
    assert (keys[0, :, :3] == 7).all() and (values[0, :, :3] == 8).all()
    assert not keys[0, :, 3:].any() and not keys[1].any()
