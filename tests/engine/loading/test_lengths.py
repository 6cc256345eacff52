"""The tried lengths fit the file: each symbol has the same length in every place."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from service.core.tensors import DATATYPES, Dim, Signature, TensorSpec
from service.engine.loading.lengths import DRAWN, Shapes, shapes_to_try
from tests.engine.goldens import spec

dims = st.one_of(st.integers(0, 5), st.sampled_from(["a", "b", "past_c", None]))
shapes = st.lists(st.lists(dims, max_size=4).map(tuple), max_size=3)


def tried(*given: tuple[Dim, ...], **known: int) -> list[Shapes]:
    signature = Signature(tuple(spec(f"x{i}", "FP32", *s) for i, s in enumerate(given)), ())
    return list(shapes_to_try(signature, known))


@given(shapes)
def test_a_symbol_has_one_length(inputs: list[tuple[Dim, ...]]) -> None:
    found = tried(*inputs, a=3)
    assert found
    for each in found:
        lengths: dict[str, int] = {"a": 3}
        for shape, got in zip(inputs, each, strict=True):
            assert len(shape) == len(got)
            for dim, length in zip(shape, got, strict=True):
                known = lengths.setdefault(dim, length) if isinstance(dim, str) else length
                assert length == (dim if isinstance(dim, int) else known)


def test_equal_lengths_are_tried_first_with_one_row() -> None:
    first, *others = tried(("image", 8, "w"), ("text", "w"))
    assert first == ((1, 8, 16), (1, 16))
    assert any(image[0] != text[0] for image, text in others)


def test_a_declared_batch_stays_one_row() -> None:
    for found in (tried(("batch", "s"), ("batch", "t")), tried((None, None, None))):
        assert {shape[0] for each in found for shape in each} == {1}
        assert len(found) > len(DRAWN)


def test_past_lengths_may_be_zero() -> None:
    decoder = [("batch", "s"), ("batch", "past_s", 4), ("batch", "past_s + s")]
    assert ((1, 16), (1, 0, 4), (1, 16)) in [
        (a, b, c) for a, b, c in tried(*decoder, **{"past_s + s": 16})
    ]


def test_every_rank_is_tried_for_an_input_without_a_shape() -> None:
    unranked = TensorSpec("x", DATATYPES["FP32"], (), ranked=False)
    signature = Signature((unranked, spec("y", "FP32", "batch", 3)), ())
    found = list(islice(shapes_to_try(signature, {}), 20))
    assert {len(x) for x, _ in found} == {0, 1, 2, 3, 4} and {y for _, y in found} == {(1, 3)}
