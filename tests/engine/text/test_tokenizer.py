import pytest

from service.core.errors import InputRejected, MalformedRequest
from service.engine.text.tokenizer import TextTokenizer, longest_of
from tests import tiny_texts
from tests.tiny_texts import VOCABULARY


def ids(*words: str) -> list[int]:
    return [VOCABULARY.index(word) for word in words]


@pytest.mark.parametrize("offsets", [True, False])
def test_texts_pairs_and_tokens_keep_their_order(offsets: bool) -> None:
    tokenizer = TextTokenizer(tiny_texts.tokenizer(), 16, offsets=offsets)
    found = tokenizer.encode(["The dog", [5, 6], ("a cat", "sea")], 0, truncate=False)
    assert found[0].ids == ids("[CLS]", "the", "dog", "[SEP]")
    assert (found[1].ids, found[1].types) == ([5, 6], [0, 0])
    assert found[2].ids == ids("[CLS]", "a", "cat", "[SEP]", "sea", "[SEP]")
    assert found[2].types == [0, 0, 0, 0, 1, 1]


def test_padding_of_the_file_is_ignored_except_for_its_token() -> None:
    fast = tiny_texts.tokenizer()
    fast.enable_padding(length=32, pad_id=7)
    tokenizer = TextTokenizer(fast, 16)
    assert tokenizer.pad_token == 7
    assert len(tokenizer.encode(["dog"], 0, truncate=True)[0].ids) == 3


def test_long_texts_are_cut_or_refused() -> None:
    tokenizer = TextTokenizer(tiny_texts.tokenizer(), 4)
    long: list[str | tuple[str, str] | list[int]] = ["the dog", "the old dog"]
    (_, cut) = tokenizer.encode(long, 0, truncate=True)
    assert cut.ids == ids("[CLS]", "the", "old", "[SEP]")
    with pytest.raises(InputRejected, match="text 6 has more than 4 tokens"):
        tokenizer.encode(long, 5, truncate=False)
    assert len(tokenizer.encode([[4] * 9], 0, truncate=True)[0].ids) == 4
    with pytest.raises(InputRejected, match="text 0 has more than 4 tokens"):
        tokenizer.encode([[4] * 9], 0, truncate=False)


def test_the_truncation_of_the_file_is_read() -> None:
    assert (longest_of(tiny_texts.tokenizer(8)), longest_of(tiny_texts.tokenizer())) == (8, 0)
    assert TextTokenizer(tiny_texts.tokenizer(8), 16).cuts
    assert not TextTokenizer(tiny_texts.tokenizer(), 16).cuts


def test_tokens_that_do_not_exist_are_refused() -> None:
    tokenizer = TextTokenizer(tiny_texts.tokenizer(), 16)
    for token in (-1, len(VOCABULARY)):
        with pytest.raises(InputRejected, match=f"text 0: .* {token} is not a token id"):
            tokenizer.encode([[token]], 0, truncate=True)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="not valid Unicode"):
        TextTokenizer(tiny_texts.tokenizer(), 16).encode(["\ud800"], 0, truncate=True)


def test_a_text_without_tokens_is_refused() -> None:
    fast = tiny_texts.tokenizer()
    fast.post_processor = None
    with pytest.raises(InputRejected, match="text 1 has no tokens"):
        TextTokenizer(fast, 16).encode(["dog", " "], 0, truncate=True)
