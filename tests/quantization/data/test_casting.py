"""Dtypes: those that are cast without loss, and those that are refused."""

import numpy as np
import pytest

from service.core.errors import ConfigError
from service.core.tensors import DATATYPES, Signature, TensorSpec
from service.quantization.data.casting import cast, cast_feeds


def spec(datatype: str) -> TensorSpec:
    return TensorSpec("x", DATATYPES[datatype], ("batch", 2))


@pytest.mark.parametrize(
    ("datatype", "given"),
    [
        ("FP32", np.array([[0.1, 2]])),
        ("FP32", np.array([[0.5, 2]], np.float16)),
        ("FP64", np.array([[0.5, np.nan]], np.float32)),
        ("INT64", np.array([[-1, 7]], np.int32)),
        ("UINT8", np.array([[0, 255]])),
    ],
)
def test_a_similar_dtype_is_cast_and_keeps_its_values(datatype: str, given: np.ndarray) -> None:
    found = cast(given, spec(datatype))
    assert found.dtype == DATATYPES[datatype].dtype
    np.testing.assert_allclose(found, given, rtol=1e-6)


@pytest.mark.parametrize(
    ("datatype", "given", "message"),
    [
        ("FP32", np.array([[1, 2]], np.uint8), "got uint8; scale and cast it"),
        ("FP32", np.array([[1e39, 2]]), "got float64, with values beyond 3.4e"),
        ("INT64", np.array([[1.0, 2.0]]), "got float64"),
        ("UINT8", np.array([[0, 256]]), "got int64, with values from 0 to 256"),
        ("INT64", np.array([[1, 2**63]], np.uint64), "got uint64, with values from 1 to"),
        ("BF16", np.array([[1, 2]], np.int64), "got int64"),
        ("FP32", np.array([[True, False]]), "got bool"),
        ("BYTES", np.array([[1.0, 2.0]]), "got float64"),
        ("BYTES", np.array([["a", 1]], object), "got object that are not all strings"),
    ],
)
def test_ambiguous_dtypes_are_refused(datatype: str, given: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=f'data "x": the model takes {datatype}.*{message}'):
        cast(given, spec(datatype))


def test_text_is_accepted_as_str_or_utf8() -> None:
    assert cast(np.array([["ä", "b"]]), spec("BYTES")).tolist() == [["ä", "b"]]
    assert cast(np.array([["ä".encode(), b"b"]]), spec("BYTES")).tolist() == [["ä", "b"]]


def test_each_cast_is_reported_once_and_other_arrays_are_unchanged() -> None:
    feeds = [{"x": np.zeros((1, 2)), "labels": np.zeros(1)} for _ in range(3)]
    found, notes = cast_feeds(feeds, Signature((spec("FP32"),), ()))
    assert notes == ('"x" came as float64 and was cast to FP32.',)
    assert [feed["labels"].dtype for feed in found] == [np.float64] * 3
