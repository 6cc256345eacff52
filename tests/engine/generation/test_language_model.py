"""What a language model can be asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from service.core.errors import InputRejected
from service.core.generation import GenerationRequest
from tests.engine.generation import tiny_llama
from tests.engine.generation.tiny_batcher import GREEDY, language, request


def test_slots_are_those_of_all_decoders(tmp_path: Path) -> None:
    found = language(tmp_path, lanes=2, rows=3)
    assert found.slots == 6
    assert found.cache_bytes == 2 * found.decoders[0].cache.most_bytes > 0


def test_a_request_that_fits_is_taken(tmp_path: Path) -> None:
    language(tmp_path).check("m", request(length=10, max_tokens=tiny_llama.CONTEXT - 10))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (GenerationRequest((), GREEDY, 1), "the prompt is empty"),
        (GenerationRequest((512,), GREEDY, 1), "512 is none of them"),
        (GenerationRequest((-1,), GREEDY, 1), "-1 is none of them"),
        (GenerationRequest((3,), replace(GREEDY, bias={600: 1.0}), 1), "600 is none of them"),
        (request(length=10, max_tokens=tiny_llama.CONTEXT), "shorten the prompt or max_tokens"),
        (request(length=tiny_llama.CONTEXT, max_tokens=None), "shorten the prompt"),
        (GenerationRequest((3,), replace(GREEDY, logprobs=513), 1), "513 logprobs"),
    ],
)
def test_what_it_cannot_do_is_told(tmp_path: Path, asked: GenerationRequest, told: str) -> None:
    with pytest.raises(InputRejected) as refused:
        language(tmp_path).check("chat", asked)
    assert told in str(refused.value) and 'model "chat"' in str(refused.value)
