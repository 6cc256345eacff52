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
def test_a_text_comes_back_piece_by_piece(tokenizer: Tokenizer, text: str) -> None:
    out = Detokenizer(tokenizer)
    pieces = [out.push(token) for token in tokenizer.encode(text, special=False)]
    assert "".join(pieces) + out.flush() == text


@given(text=st.text(alphabet=st.characters(exclude_characters="\ufffd", codec="utf-8")))
def test_no_piece_has_half_a_character(tokenizer: Tokenizer, text: str) -> None:
    out = Detokenizer(tokenizer)
    for token in tokenizer.encode(text, special=False):
        assert "\ufffd" not in out.push(token)


def test_bytes_that_are_no_character_do_not_hold_up_the_rest(tokenizer: Tokenizer) -> None:
    broken = tokenizer.encode("🙂", special=False)[0]
    out = Detokenizer(tokenizer)
    pieces = [out.push(broken) for _ in range(3 * MOST_HELD)]
    assert any(pieces)
    # As many replacements as at once, and nothing is told twice.
    assert "".join(pieces) + out.flush() == tokenizer.decode([broken] * 3 * MOST_HELD)


def test_special_tokens_are_shown_only_where_asked(tokenizer: Tokenizer) -> None:
    end = tokenizer.token(END)
    assert end is not None and tokenizer.token("nothing") is None
    assert Detokenizer(tokenizer).push(end) == ""
    assert tokenizer.show(end) == END
    assert tokenizer.encode(f"a{END}", special=False)[-1] == end


def test_half_a_surrogate_pair_is_no_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(MalformedRequest, match="lone surrogate"):
        tokenizer.encode("\ud800", special=False)


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="there is no tokenizer.json beside"):
        Tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(LoadFailed, match="tokenizer.json is not a valid tokenizer: "):
        Tokenizer(tmp_path / "tokenizer.json")
