"""The golden set is read, or it is said what is wrong; it is run as requests would be."""

from pathlib import Path
from threading import Event

import numpy as np
import pytest

from service.config import ModelConfig
from service.core.batching import BatchingMode
from service.core.errors import LoadFailed
from service.core.tensors import DATATYPES, Signature, TensorSpec
from service.engine.gate import Abandoned, answers
from service.engine.golden import read_golden
from service.engine.loading import Loaded, load
from tests.repositories import put, scale

SIGNATURE = Signature(
    (TensorSpec("x", DATATYPES["FP32"], ("n", 2)), TensorSpec("word", DATATYPES["BYTES"], ("n",))),
    (TensorSpec("y", DATATYPES["FP32"], ("n", 2)),),
)
X, WORD = np.ones((3, 2), np.float32), np.array(["a", "bc", "d"])


def write(path: Path, **arrays: np.ndarray) -> Path:
    file = path / "golden.npz"
    np.savez(file, **{name.replace("__", "/"): array for name, array in arrays.items()})
    return file


def test_arrays_come_in_the_order_of_the_signature(tmp_path: Path) -> None:
    file = write(tmp_path, inputs__word=WORD, inputs__x=X, outputs__y=X, labels=np.arange(3))
    golden = read_golden(file, SIGNATURE)
    assert golden is not None
    assert golden.inputs[0].tolist() == X.tolist() and golden.inputs[1].tolist() == WORD.tolist()
    assert list(golden.outputs) == ["y"] and golden.labels[""].tolist() == [0, 1, 2]


def test_no_file_is_no_golden_set(tmp_path: Path) -> None:
    assert read_golden(tmp_path / "golden.npz", SIGNATURE) is None


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"inputs__x": X}, 'no array "inputs/word"'),
        ({"inputs__x": X.astype(float), "inputs__word": WORD}, '"x" takes FP32 .*, got float64'),
        ({"inputs__x": X[:, :1], "inputs__word": WORD}, 'input "x" takes FP32'),
        ({"inputs__x": X, "inputs__word": WORD, "outputs__z": X}, '"(outputs/)?z"'),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, arrays: dict[str, np.ndarray], text: str
) -> None:
    with pytest.raises(LoadFailed, match=f"golden.npz.*{text}"):
        read_golden(write(tmp_path, **arrays), SIGNATURE)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, share: float) -> None:
    file = write(tmp_path, inputs__x=X, inputs__word=WORD)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(LoadFailed, match="golden.npz cannot be read"):
        read_golden(file, SIGNATURE)


def loaded(path: Path, combine: str) -> Loaded:
    put(path, "m", 1, scale(3))
    config = {"batching": {"combine": combine, "max_batch_size": 4}}
    return load(path / "m/1", ModelConfig.model_validate(config), cores=1)


@pytest.mark.parametrize(
    ("combine", "mode"), [("auto", BatchingMode.COMBINE), ("never", BatchingMode.REQUESTS)]
)
def test_rows_are_run_in_batches_that_serving_could_make(
    tmp_path: Path, combine: str, mode: BatchingMode
) -> None:
    version = loaded(tmp_path, combine)
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    (got,) = answers(version, (rows,), Event())
    assert version.plan.mode is mode
    assert got.tolist() == (rows * 3).tolist()


def test_nobody_goes_on_when_nobody_wants_to_know(tmp_path: Path) -> None:
    abandoned = Event()
    abandoned.set()
    with pytest.raises(Abandoned):
        answers(loaded(tmp_path, "auto"), (np.ones((4, 2), np.float32),), abandoned)
