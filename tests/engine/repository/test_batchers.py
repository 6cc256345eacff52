"""Which batcher a version gets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from service.config.model import ModelConfig
from service.core.ledger import UNNOTED
from service.core.response_cache import ResponseCache
from service.core.run_limits import DEFAULT_RUN_LIMITS
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import load
from service.engine.repository.batchers import BatcherParts
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.cached_batcher import CachedBatcher
from service.engine.runtime.split_batcher import Batcher, SplitBatcher
from tests.repositories import put, scale


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return load(put(tmp_path, "m", 1, scale(2)), ModelConfig(), 1)


@contextmanager
def made(loaded: Loaded, max_bytes: int = 0) -> Iterator[tuple[Batcher, ResponseCache | None]]:
    config = ModelConfig.model_validate({"cache": {"max_bytes": max_bytes}})
    parts = BatcherParts(
        ("m", 1),
        config,
        lambda _: None,
        lambda: UNNOTED,
        DEFAULT_RUN_LIMITS,
        None,
        lambda _: None,
    )
    batcher, cache = parts.batcher(loaded)
    yield batcher, cache
    batcher.close()


async def test_short_runs_get_a_batcher_in_the_event_loop_beside_one_in_a_thread(
    loaded: Loaded,
) -> None:
    with made(loaded) as (batcher, cache):
        assert isinstance(batcher, SplitBatcher) and cache is None
    with made(replace(loaded, extent=None)) as (batcher, cache):
        assert isinstance(batcher, DynamicBatcher) and cache is None


async def test_a_cache_is_created_if_model_toml_sets_its_size(loaded: Loaded) -> None:
    with made(loaded, max_bytes=100) as (batcher, cache):
        assert isinstance(batcher, CachedBatcher)
        assert cache is not None and cache.limit == 100
