import json
from pathlib import Path

import pytest

from service.core.errors import LoadFailed
from service.engine.generation.genai_config import read_config
from service.engine.storage.folder import is_language_model
from tests.engine.generation import tiny_llama


def test_configurations_of_the_builder_are_read(tmp_path: Path) -> None:
    assert not is_language_model(tmp_path)
    (tmp_path / "genai_config.json").write_text(json.dumps(tiny_llama.config()))
    assert is_language_model(tmp_path)
    found = read_config(tmp_path)
    assert found.ends == (2,)
    assert found.decoder.num_hidden_layers == 2


def test_several_tokens_may_end_an_answer(tmp_path: Path) -> None:
    given = tiny_llama.config(eos_token_id=[2, 0])
    (tmp_path / "genai_config.json").write_text(json.dumps(given))
    assert read_config(tmp_path).ends == (2, 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "genai_config.json is not JSON: not an object"),
        ("{", "genai_config.json is not JSON"),
        ("{}", "genai_config.json: model: Input should be a valid dictionary"),
        ('{"model": {"vocab_size": 5}}', "genai_config.json: model.context_length: Field required"),
        ("[" * 100_000, "genai_config.json is not JSON"),
    ],
)
def test_invalid_configurations_are_refused_with_the_reason(
    tmp_path: Path, text: str, why: str
) -> None:
    (tmp_path / "genai_config.json").write_text(text)
    with pytest.raises(LoadFailed, match=why):
        read_config(tmp_path)
