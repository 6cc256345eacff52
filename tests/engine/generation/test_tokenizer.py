from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import LoadFailed, MalformedRequest
from service.engine.generation.tokenizer import MOST_HELD, Detokenizer, Tokenizer
from tests.engine.generation.language import END, write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Tokenizer(folder / "tokenizer.json")


@given(text=st.text())
def test_pieces_join_to_the_original_text(tokenizer: Tokenizer, text: str) -> None:
    out = Detokenizer(tokenizer)
    pieces = [out.push(token) for token in tokenizer.encode(text, special=False)]
    assert "".join(pieces) + out.flush() == text


@given(text=st.text(alphabet=st.characters(exclude_characters="\ufffd", codec="utf-8")))
def test_no_piece_contains_an_incomplete_character(tokenizer: Tokenizer, text: str) -> None:
    out = Detokenizer(tokenizer)
    for token in tokenizer.encode(text, special=False):
        assert "\ufffd" not in out.push(token)


def test_invalid_bytes_do_not_hold_back_later_text(tokenizer: Tokenizer) -> None:
    broken = tokenizer.encode("🙂", special=False)[0]
    out = Detokenizer(tokenizer)
    pieces = [out.push(broken) for _ in range(3 * MOST_HELD)]
    assert any(pieces)
    # As many replacement characters as when decoded at once, and no text twice.
    assert "".join(pieces) + out.flush() == tokenizer.decode([broken] * 3 * MOST_HELD)


def test_special_tokens_are_shown_only_on_request(tokenizer: Tokenizer) -> None:
    end = tokenizer.token(END)
    assert end is not None and tokenizer.token("nothing") is None
    assert Detokenizer(tokenizer).push(end) == ""
    assert tokenizer.show(end) == END
    assert tokenizer.encode(f"a{END}", special=False)[-1] == end


def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(MalformedRequest, match="lone surrogate"):
        tokenizer.encode("\ud800", special=False)


def test_a_missing_or_invalid_tokenizer_fails_the_load(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="there is no tokenizer.json beside"):
        Tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(LoadFailed, match="tokenizer.json is not a valid tokenizer: "):
        Tokenizer(tmp_path / "tokenizer.json")
