"""Lengths are padded to buckets and cut back; models whose answers change are detected."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config.model import PaddingConfig
from service.core.batching import BatchPolicy
from service.core.errors import ExecutionFailed, LoadFailed, SignatureMismatch
from service.core.padding import Padding
from service.core.tensors import DATATYPES, Arrays, Dim, Signature, TensorSpec
from service.engine.loading.padding import MOST_TRIED, padding_deviation, padding_for
from service.engine.loading.probe import run_together
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import graphs


def spec(name: str, datatype: str, *shape: Dim) -> TensorSpec:
    return TensorSpec(name, DATATYPES[datatype], shape)


IDS, MASK = spec("ids", "INT64", "batch", "length"), spec("mask", "INT64", "batch", "length")
ENCODER = Signature(
    (IDS, MASK), (spec("states", "FP32", "batch", "length", 4), spec("mean", "FP32", "batch", 4))
)


def config(buckets: tuple[int, ...] = (8, 4), **values: float) -> PaddingConfig:
    return PaddingConfig(buckets=buckets, values=values)


def test_outputs_are_cut_at_the_axes_that_they_share_with_inputs() -> None:
    assert padding_for(config(ids=0, mask=0), ENCODER) == Padding(
        buckets=(4, 8),
        fills=(0, 0),
        axes=((True,), (True,)),
        cuts=(((1, 1, 1),), ()),
        shared=(("length", ((0, 1), (1, 1))),),
    )


def test_inputs_with_a_common_axis_must_have_equal_lengths_before_padding() -> None:
    policy = BatchPolicy(padding=padding_for(config(ids=0, mask=0), ENCODER))
    ids, mask = np.zeros((1, 5), np.int64), np.ones((1, 7), np.int64)
    assert policy.row_shapes((ids, mask[:, :5])) == ((8,), (8,))
    with pytest.raises(SignatureMismatch, match='share the length "length", got 5 and 7'):
        policy.row_shapes((ids, mask))


WRONG: dict[str, tuple[tuple[TensorSpec, ...], dict[str, float], str]] = {
    "no such input": ((IDS,), {"x": 0}, 'names "x", which is no input'),
    "half of an axis": ((IDS, MASK), {"ids": 0}, '"ids" but not "mask", which has the same length'),
    "nothing varies": ((spec("a", "FP32", "batch", 3),), {"a": 0}, "of which no axis varies"),
    "no integer": (
        (IDS, MASK),
        {"ids": 0.5, "mask": 0},
        'fills "ids" with 0.5, but it takes INT64',
    ),
    "out of range": ((spec("a", "UINT8", "b", "n"),), {"a": 256}, "with 256, but it takes UINT8"),
    "no boolean": ((spec("a", "BOOL", "b", "n"),), {"a": 2}, "with 2, but it takes BOOL"),
    "text": ((spec("a", "BYTES", "b", "n"),), {"a": 0}, "with 0, but it takes BYTES"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_padding_that_does_not_fit_the_model_is_refused(case: str) -> None:
    inputs, values, problem = WRONG[case]
    with pytest.raises(LoadFailed, match=f"model.toml: batching.padding .*{problem}"):
        padding_for(config(**values), Signature(inputs, ()))


def test_bfloat16_is_padded_with_the_bits_of_the_value() -> None:
    padding = padding_for(config(a=1), Signature((spec("a", "BF16", "b", "n"),), ()))
    assert padding.fills == (0x3F80,)


def encoder(tmp_path: Path, heed_mask: bool = True) -> tuple[Session, Padding]:
    folder = graphs.save(graphs.attention(heed_mask), tmp_path)
    session = Session(folder / "model.onnx", SessionOptions())
    return session, padding_for(config((16, 8), ids=0, attention_mask=0), session.signature)


def sentence(length: int, seed: int = 0) -> Arrays:
    ids = np.random.default_rng(seed).integers(1, 100, (1, length))
    return ids, np.ones((1, length), np.int64)


@pytest.mark.parametrize("length", [1, 5, 8, 16, 40])
def test_padding_does_not_change_a_model_that_uses_its_mask(length: int, tmp_path: Path) -> None:
    session, padding = encoder(tmp_path)
    outputs = session.signature.outputs
    assert padding_deviation(session.run, outputs, sentence(length), padding) < 1e-5


def test_a_model_that_ignores_its_mask_is_detected(tmp_path: Path) -> None:
    session, padding = encoder(tmp_path, heed_mask=False)
    outputs = session.signature.outputs
    assert padding_deviation(session.run, outputs, sentence(8), padding) > 0.1


def test_a_wrong_padding_value_for_the_mask_is_detected(tmp_path: Path) -> None:
    session, _ = encoder(tmp_path)
    padding = padding_for(config((16, 8), ids=0, attention_mask=1), session.signature)
    outputs = session.signature.outputs
    assert padding_deviation(session.run, outputs, sentence(8), padding) > 0.1


def test_a_bucket_that_the_model_cannot_run_is_an_error() -> None:
    padding = padding_for(config((4, 512), ids=0, mask=0), ENCODER)

    def run(inputs: Arrays, _: object) -> Arrays:
        if inputs[0].shape[1] > 100:
            raise ExecutionFailed("no more than 100 places")
        return inputs

    with pytest.raises(ExecutionFailed, match="100 places"):
        padding_deviation(run, ENCODER.inputs, sentence(4), padding)


def test_some_of_many_buckets_are_tried_including_the_first_and_last() -> None:
    padding, ran = padding_for(config(tuple(range(4, 4004, 4)), ids=0, mask=0), ENCODER), set()

    def run(inputs: Arrays, _: object) -> Arrays:
        ran.add(inputs[0].shape[1])
        return inputs

    padding_deviation(run, ENCODER.inputs, sentence(4), padding)
    assert {4, 4000} <= ran and len(ran) <= 3 * MOST_TRIED


def test_lengths_that_run_only_when_padded_are_accepted(tmp_path: Path) -> None:
    folder = graphs.save(graphs.eights(), tmp_path)
    session = Session(folder / "model.onnx", SessionOptions())
    padding = padding_for(config((8, 16), x=0), session.signature)
    row = (np.ones((1, 8), np.float32),)
    assert padding_deviation(session.run, session.signature.outputs, row, padding) == 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Padding]:
    return encoder(tmp_path_factory.mktemp("encoder"))


@given(st.lists(st.integers(1, 16), min_size=1, max_size=6), st.integers(0, 100))
def test_rows_of_any_lengths_share_a_run_and_get_their_own_answers(
    shared: tuple[Session, Padding], lengths: list[int], seed: int
) -> None:
    session, padding = shared
    rows = [sentence(length, seed + i) for i, length in enumerate(lengths)]
    wide = Padding((16,), padding.fills, padding.axes, padding.cuts)
    for row, (states, mean) in zip(
        rows, run_together(session.run, rows, BatchPolicy(padding=wide)), strict=True
    ):
        bare_states, bare_mean = session.run(row)
        assert states.shape == bare_states.shape
        np.testing.assert_allclose(states, bare_states, atol=1e-4)
        np.testing.assert_allclose(mean, bare_mean, atol=1e-4)
