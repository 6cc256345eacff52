import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.compatibility import compare_signatures, unremembered
from service.core.errors import SignatureMismatch
from service.core.tensors import DATATYPES, Dim, Signature, Tensor, TensorSpec


def spec(name: str, *shape: Dim, kind: str = "FP32") -> TensorSpec:
    return TensorSpec(name, DATATYPES[kind], shape)


A, B, Y = spec("a", "n", 4), spec("b", "n", 2), spec("y", "n", 10)
LIVE = Signature((A, B), (Y,))
FIXED = Signature((spec("x", 1, 4),), (spec("y", 1, 3),))


@pytest.mark.parametrize(
    ("live", "new", "told"),
    [
        (LIVE, LIVE, ()),
        (LIVE, Signature((B, A), (Y,)), ()),
        (
            LIVE,
            Signature((spec("a", "batch", 4), spec("b", "batch", 2)), (spec("y", None, 10),)),
            (),
        ),
        (LIVE, Signature((A, B), (spec("z", "n"), Y)), ('new output "z" FP32 [-1]',)),
        (
            FIXED,
            Signature((spec("x", "n", 4),), (spec("y", "n", 3),)),
            ('input "x" FP32 [-1, 4] was FP32 [1, 4]', 'output "y" FP32 [-1, 3] was FP32 [1, 3]'),
        ),
        # Exporters name the first axis of an output as they like, or not at all.
        (
            FIXED,
            Signature((spec("x", "n", 4),), (spec("y", None, 3),)),
            ('input "x" FP32 [-1, 4] was FP32 [1, 4]', 'output "y" FP32 [-1, 3] was FP32 [1, 3]'),
        ),
        # An output that is as long as an input.
        (
            Signature((spec("ids", "n", 8),), (spec("y", "n", 8),)),
            Signature((spec("ids", "n", "length"),), (spec("y", "n", "length"),)),
            (
                'input "ids" FP32 [-1, -1] was FP32 [-1, 8]',
                'output "y" FP32 [-1, -1] was FP32 [-1, 8]',
            ),
        ),
        # An output that promises more.
        (
            Signature((spec("x", "n", 4),), (spec("y", "n", "k"),)),
            Signature((spec("x", "n", 4),), (spec("y", "n", 3),)),
            ('output "y" FP32 [-1, 3] was FP32 [-1, -1]',),
        ),
    ],
)
def test_changes_that_break_no_request_are_compatible(
    live: Signature, new: Signature, told: tuple[str, ...]
) -> None:
    found = compare_signatures(live, new)
    assert found.broken == ()
    assert found.widened == told


@pytest.mark.parametrize(
    ("live", "new", "told"),
    [
        (LIVE, Signature((A,), (Y,)), 'no input "b" FP32 [-1, 2]'),
        (LIVE, Signature((A, B, spec("c", "n")), (Y,)), 'new required input "c" FP32 [-1]'),
        (LIVE, Signature((A, B), ()), 'no output "y" FP32 [-1, 10]'),
        (
            LIVE,
            Signature((spec("a", 1, 4), B), (Y,)),
            'input "a" FP32 [1, 4] was FP32 [-1, 4]',
        ),
        (
            LIVE,
            Signature((spec("a", "n", 4, 1), B), (Y,)),
            'input "a" FP32 [-1, 4, 1] was FP32 [-1, 4]',
        ),
        (
            LIVE,
            Signature((spec("a", "n", 4, kind="FP64"), B), (Y,)),
            'input "a" FP64 [-1, 4] was FP32 [-1, 4]',
        ),
        (
            LIVE,
            Signature((A, B), (spec("y", "n", 9),)),
            'output "y" FP32 [-1, 9] was FP32 [-1, 10]',
        ),
        (
            LIVE,
            Signature((A, B), (spec("y", "n", "k"),)),
            'output "y" FP32 [-1, -1] was FP32 [-1, 10]',
        ),
        (LIVE, Signature((A, B), (spec("y", 1, 10),)), 'output "y" FP32 [1, 10] was FP32 [-1, 10]'),
        (
            LIVE,
            Signature((A, B), (spec("y", "n", 10, kind="INT8"),)),
            'output "y" INT8 [-1, 10] was FP32 [-1, 10]',
        ),
        (
            Signature((spec("i", "n", "pixels"), spec("t", "n", "words")), (Y,)),
            Signature((spec("i", "n", "length"), spec("t", "n", "length")), (Y,)),
            'one length "length" for axes of inputs that had pixels and words',
        ),
        (
            Signature((spec("i", 1, 4), spec("t", 2, 4)), ()),
            Signature((spec("i", "n", 4), spec("t", "m", 4)), ()).settled(True),
            "one number of rows for axes of inputs that had 1 and 2",
        ),
        (
            Signature((spec("i", 1, 4), spec("t", None, 4)), ()),
            Signature((spec("i", "n", 4), spec("t", "n", 4)), ()),
            'one number of rows for axes of inputs that had 1 and any of "t"',
        ),
    ],
)
def test_changes_that_break_a_request_are_reported(
    live: Signature, new: Signature, told: str
) -> None:
    assert compare_signatures(live, new).broken == (told,)


def test_a_fixed_number_of_rows_must_fit_max_batch_size() -> None:
    live, new = (Signature((spec("x", first, 4),), ()) for first in (128, "n"))
    told = 'input "x" FP32 [-1, 4] had 128 rows, max_batch_size is 64'
    assert compare_signatures(live, new, 64).broken == (told,)
    assert compare_signatures(live, new, 128).broken == ()


def test_v1_keeps_its_outputs_when_outputs_are_added() -> None:
    more = Signature(LIVE.inputs, (Y, spec("z", "n")))
    assert compare_signatures(LIVE, LIVE).v1_outputs == ()
    assert compare_signatures(LIVE, more).v1_outputs == ("y",)
    assert compare_signatures(more, more, v1_outputs=("y",)).v1_outputs == ("y",)
    most = Signature(LIVE.inputs, (*more.outputs, spec("extra", "n")))
    assert compare_signatures(more, most, v1_outputs=("y",)).v1_outputs == ("y",)


def test_v1_outputs_must_not_change_without_a_record() -> None:
    def broken(old: Signature, new: Signature, *v1_outputs: str) -> tuple[str, ...]:
        found = unremembered(compare_signatures(old, new, None, v1_outputs), old, new, v1_outputs)
        assert found.v1_outputs == ()
        return found.broken

    more = Signature(LIVE.inputs, (Y, spec("z", "n")))
    told = ('V1 returns only "y", which only a swap to a number can keep',)
    assert broken(LIVE, more) == broken(more, more, "y") == told
    assert broken(more, more) == ()
    assert broken(more, Signature(LIVE.inputs, (*more.outputs, spec("extra", "n")))) == ()
    # V1 has no way to give an output without a value for each instance.
    assert broken(more, Signature(LIVE.inputs, (*more.outputs, spec("scale")))) != ()


dims = st.sampled_from([1, 2, "n", "m", None])
inputs = st.lists(st.tuples(*[dims] * 2), min_size=1, max_size=2).map(
    lambda shapes: tuple(spec(f"x{i}", *shape) for i, shape in enumerate(shapes))
)


@given(inputs, inputs, st.data())
def test_every_request_that_fits_the_live_version_fits_a_compatible_one(
    old: tuple[TensorSpec, ...], new: tuple[TensorSpec, ...], data: st.DataObject
) -> None:
    live, then = Signature(old, ()), Signature(new, ())
    lengths = {name: data.draw(st.integers(1, 3)) for name in ("n", "m")}
    tensors = [
        Tensor(each.name, each.datatype, np.zeros([_length(d, lengths) for d in each.shape]))
        for each in old
    ]
    if compare_signatures(live, then).broken:
        return
    arrays = live.check(tensors)
    rows_of(then, then.check(tensors), expected=rows_of(live, arrays, None))


def _length(dim: Dim, lengths: dict[str, int]) -> int:
    return dim if isinstance(dim, int) else lengths[dim or "n"]


def rows_of(signature: Signature, arrays: tuple[np.ndarray, ...], expected: int | None) -> int:
    """Return the rows of a request; 0 if it is refused because its inputs have different rows."""
    if not signature.batchable:
        return 1
    try:
        return signature.rows(arrays)
    except SignatureMismatch:
        assert expected in (None, 0), "the live version takes this request"
        return 0


def test_text_requests_stay_compatible() -> None:
    tensor = spec("x", "batch", 2)
    text, pair = (spec(name, "texts", kind="BYTES") for name in ("text", "text_pair"))
    label, scores = spec("label", "texts", kind="BYTES"), spec("scores", "texts", 3)

    def signature(texts: Signature | None) -> Signature:
        return Signature((tensor,), (tensor,), texts=texts)

    bare = signature(None)
    labelled = signature(Signature((text,), (label, scores), (pair,)))
    assert compare_signatures(bare, labelled).broken == ()
    assert compare_signatures(labelled, labelled).broken == ()
    assert compare_signatures(labelled, bare).broken == ("no requests in text",)
    (broken,) = compare_signatures(labelled, signature(Signature((text,), (label, scores)))).broken
    assert broken.startswith('requests in text: no input "text_pair"')
