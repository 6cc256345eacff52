from pathlib import Path

from tests.engine.generation.tiny_batcher import language
from tests.engine.generation.tiny_llama import CONTEXT


def test_slots_and_cache_cover_all_lanes(tmp_path: Path) -> None:
    found = language(tmp_path, lanes=3, rows=2)
    assert found.slots == 6
    assert found.cache_bytes == 6 * CONTEXT * found.decoders[0].cache.token_bytes
