from pathlib import Path

import pytest

from service.core.errors import LoadFailed
from service.engine.text.tokenizer_file import read_tokenizer
from tests import tiny_texts


def test_a_tokenizer_is_read(tmp_path: Path) -> None:
    tiny_texts.tokenizer().save(str(tmp_path / "tokenizer.json"))
    assert read_tokenizer(tmp_path / "tokenizer.json").get_vocab_size() == len(
        tiny_texts.VOCABULARY
    )


@pytest.mark.parametrize("content", ["", "{}", "[1]", "\x00"])
def test_an_invalid_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(LoadFailed, match="tokenizer.json is not a valid tokenizer"):
        read_tokenizer(tmp_path / "tokenizer.json")


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="no tokenizer.json beside the model"):
        read_tokenizer(tmp_path / "tokenizer.json")
