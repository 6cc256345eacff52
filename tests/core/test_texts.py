import numpy as np
import pytest

from service.core.datatypes import DATATYPES
from service.core.errors import SignatureMismatch
from service.core.tensors import Signature, Tensor, TensorSpec
from service.core.texts import PAIR, TEXT, grouped, prompts_of

BYTES = DATATYPES["BYTES"]
SPECS = {name: TensorSpec(name, BYTES, ("texts",)) for name in (TEXT, PAIR)}


def tensor(name: str, values: list[str], *more: int) -> Tensor:
    array = np.array(values, object)
    return Tensor(name, BYTES, array.reshape(-1, *more) if more else array)


def test_texts_of_one_bucket_share_a_group_the_longest_first() -> None:
    found = grouped([3, 20, 9, 8, 1], lambda length: 8 if length <= 8 else 32, lambda _: 10)
    assert [(each.places, each.longest) for each in found] == [((1, 2), 20), ((0 + 3, 0, 4), 8)]


def test_a_group_is_bounded_by_its_bucket() -> None:
    found = grouped([16] * 5 + [4] * 5, lambda length: length, lambda length: 32 // length)
    assert [len(each.places) for each in found] == [2, 2, 1, 5]
    assert sorted(place for each in found for place in each.places) == list(range(10))


def test_no_texts_form_no_groups() -> None:
    assert grouped([], lambda length: length, lambda _: 1) == []


def test_texts_are_accepted_with_or_without_a_second_axis() -> None:
    signature = Signature((SPECS[TEXT],), ())
    assert prompts_of(signature, [tensor(TEXT, ["a", "b"])]) == ["a", "b"]
    assert prompts_of(signature, [tensor(TEXT, ["a", "b"], 1)]) == ["a", "b"]
    with pytest.raises(SignatureMismatch, match=r'"text" takes BYTES \[-1\]'):
        prompts_of(signature, [tensor(TEXT, ["a", "b"], 2)])


@pytest.mark.parametrize("needed", [True, False])
def test_pairs_need_as_many_texts_of_each(needed: bool) -> None:
    text, pair = SPECS[TEXT], SPECS[PAIR]
    signature = Signature((text, pair), ()) if needed else Signature((text,), (), (pair,))
    both = [tensor(PAIR, ["c", "d"]), tensor(TEXT, ["a", "b"])]
    assert prompts_of(signature, both) == [("a", "c"), ("b", "d")]
    with pytest.raises(SignatureMismatch, match='"text" has 2 texts, input "text_pair" has 1'):
        prompts_of(signature, [both[1], tensor(PAIR, ["c"])])
