"""Checks of requests against a signature, and the recognition of batches."""

import numpy as np
import pytest

from service.core.errors import SignatureMismatch
from service.core.shapes import doubtful_shapes
from service.core.tensors import DATATYPES, Dim, Overriding, Signature, Tensor, TensorSpec

FP32 = DATATYPES["FP32"]


def spec(name: str, *shape: Dim) -> TensorSpec:
    return TensorSpec(name, FP32, shape)


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name, FP32, np.zeros(shape, np.float32))


UNRANKED = TensorSpec("x", FP32, (), ranked=False)
DEFAULTS = Signature((spec("x", "batch", 2),), (), (spec("w", 2, 3), spec("k")))


@pytest.mark.parametrize(
    ("specs", "shapes"),
    [
        ([spec("a", "n", 2, 3), spec("b", "n")], ((2, 3), ())),
        ([spec("a", 1, 2)], ((2,),)),
        ([spec("a")], ((),)),
        ([spec("a", "n", 2), spec("b", "n", "m")], None),
        ([spec("a", "n", None)], None),
        ([UNRANKED], None),
    ],
)
def test_row_shapes_are_known_if_the_file_fixes_them(
    specs: list[TensorSpec], shapes: tuple[tuple[int, ...], ...] | None
) -> None:
    assert Signature(tuple(specs), ()).row_shapes == shapes


@pytest.mark.parametrize(
    ("specs", "declared"),
    [
        ([], False),
        ([spec("a", "n", 2)], True),
        ([spec("a", None, 2)], True),
        ([spec("a", "n"), spec("b", "n")], True),
        ([spec("a", "n"), spec("b", "m")], None),
        ([spec("a", None), spec("b", None)], None),
        ([spec("a", "n"), spec("b", None)], None),
        ([spec("a", "n"), spec("b", 2)], False),
        ([spec("a", "n"), spec("b")], False),
        ([UNRANKED], False),
    ],
)
def test_one_symbol_or_one_input_declares_a_batch(
    specs: list[TensorSpec], declared: bool | None
) -> None:
    signature = Signature(tuple(specs), ())
    assert signature.declared is declared and signature.batchable is bool(declared)
    assert signature.settled(True).batchable is (declared is not False)
    assert signature.settled(False).batchable is bool(declared)


def test_an_unranked_input_accepts_any_shape_and_a_scalar_only_scalars() -> None:
    for shape in ((), (0,), (2, 3, 4)):
        assert UNRANKED.fits(tensor("x", *shape))
        assert spec("x").fits(tensor("x", *shape)) is (shape == ())
    assert not UNRANKED.fits(Tensor("x", DATATYPES["INT32"], np.zeros(2, np.int32)))
    assert (str(UNRANKED), UNRANKED.wire_shape) == ("FP32 of any shape", [-1])
    assert (str(spec("x")), spec("x").wire_shape) == ("FP32 []", [])


def test_a_default_is_overridden_in_any_order() -> None:
    x, w, k = tensor("x", 1, 2), tensor("w", 2, 3), tensor("k")
    for given in ([x, w], [w, x], [k, x, w]):
        arrays = DEFAULTS.check(given)
        assert isinstance(arrays, Overriding) and tuple(arrays) == (x.array,)
        assert arrays.overrides.keys() == {t.name for t in given} - {"x"}
        assert DEFAULTS.stands_alone(arrays)
    assert type(DEFAULTS.check([x])) is tuple and not DEFAULTS.stands_alone(DEFAULTS.check([x]))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([tensor("w", 2, 3)], 'input "x" is missing'),
        ([tensor("w", 2, 3), tensor("k")], 'input "x" is missing'),
        ([tensor("x", 1, 2), tensor("w", 2, 4)], r'"w" takes FP32 \[2, 3\], got FP32 \[2, 4\]'),
        ([tensor("x", 1, 2), tensor("q")], 'unknown input "q"'),
        ([tensor("x", 1, 2), tensor("k"), tensor("k")], '"k" is given 2 times'),
        ([tensor("x", 1, 2), tensor("x", 1, 2)], '"x" is given 2 times'),
        ([tensor("x", 1, 2), tensor("x", 1, 2), tensor("k")], '"x" is given 2 times'),
    ],
)
def test_errors_name_the_tensor_that_does_not_fit(given: list[Tensor], problem: str) -> None:
    with pytest.raises(SignatureMismatch, match=problem):
        DEFAULTS.check(given)


def test_inputs_of_a_batch_need_equal_numbers_of_rows_or_none() -> None:
    signature = Signature((spec("a", "n", 2), spec("b", "n", 3)), ())
    assert signature.rows((np.zeros((0, 2)), np.zeros((0, 3)))) == 0
    with pytest.raises(SignatureMismatch, match='input "a" has 1 rows, input "b" has 2'):
        signature.rows((np.zeros((1, 2)), np.zeros((2, 3))))


def test_a_request_without_elements_runs_alone() -> None:
    fixed = Signature((spec("a", "n", 2),), ())
    assert not fixed.may_stand_alone
    text = Signature((spec("a", "n", "s"), spec("b", "n", "s"), spec("c", "n", None)), ())
    assert text.may_stand_alone
    full, empty = np.zeros((1, 2)), np.zeros((1, 0))
    assert not text.stands_alone((full, full, full))
    assert text.stands_alone((empty, empty, full)) and text.stands_alone((full, full, empty))


def test_undetermined_shapes_are_named_as_doubtful() -> None:
    ones, threes = np.zeros((1, 2)), np.zeros((3, 2))
    two = Signature((spec("a", "n", 2), spec("b", "m", 2)), ())
    assert doubtful_shapes(two, (ones, threes)) == 'these inputs, "a" [1, 2] and "b" [3, 2]'
    assert doubtful_shapes(two, (ones, ones)) == ""
    text = Signature((spec("ids", "n", "s"), spec("mask", "n", "s")), ())
    assert doubtful_shapes(text, (np.zeros((1, 2)), np.zeros((1, 3)))) == (
        'these inputs, "ids" [1, 2] and "mask" [1, 3]'
    )
    one = Signature((spec("a", "n", 2),), ())
    assert doubtful_shapes(one, (threes,)) == ""
    assert doubtful_shapes(one, (np.zeros((0, 2)),)) == 'input "a" without elements, [0, 2]'
    assert doubtful_shapes(Signature((UNRANKED,), ()), (ones,)) == 'these inputs, "x" [1, 2]'


def test_undetermined_shapes_of_overrides_are_named_as_doubtful() -> None:
    ones = np.zeros((1, 2))
    model = Signature((spec("a", "n", 2),), (), (UNRANKED, spec("w", 2, 3), spec("v", "k")))
    fixed = Overriding((ones,), {"w": np.zeros((2, 3))})
    assert doubtful_shapes(model, (ones,)) == doubtful_shapes(model, fixed) == ""
    both = Overriding((ones,), {"v": np.zeros(4), "w": np.zeros((2, 3))})
    assert doubtful_shapes(model, both) == 'these inputs, "a" [1, 2] and "w" [2, 3] and "v" [4]'
    empty = Overriding((ones,), {"v": np.zeros(0)})
    assert doubtful_shapes(model, empty) == 'input "v" without elements, [0]'
    unranked = Overriding((ones,), {"x": np.zeros(5)})
    assert doubtful_shapes(model, unranked) == 'these inputs, "a" [1, 2] and "x" [5]'


def test_text_requests_are_checked_against_the_text_signature() -> None:
    texts = Signature((TensorSpec("text", DATATYPES["BYTES"], ("n",)),), ())
    both = Signature((TensorSpec("x", DATATYPES["FP32"], ("n",)),), (), texts=texts)
    text = Tensor("text", DATATYPES["BYTES"], np.array(["a"], object))
    number = Tensor("x", DATATYPES["FP32"], np.zeros(1, np.float32))
    assert both.taking([text]) is texts and both.taking([number]) is both
    assert texts.taking([text]) is texts
