"""The golden rows of a first version are such as its model can be asked."""

from pathlib import Path

import numpy as np
import pytest

from service.core.errors import ConfigError
from service.core.tensors import DATATYPES, Signature, TensorSpec
from service.engine.golden import read_golden
from service.quantization.data import Rows
from service.quantization.publish import check_home, publish, write_golden
from tests.repositories import scale

ROWS = Rows(tuple((np.full((1, 2), i, np.float32),) for i in range(40)), np.arange(40))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".quantize").mkdir()
    return tmp_path


def signature(first: str | int) -> Signature:
    taken, given = (TensorSpec(n, DATATYPES["FP32"], (first, 2)) for n in ("x", "y"))
    return Signature((taken,), (given,))


@pytest.mark.parametrize(("first", "count"), [("n", 32), (1, 1)])
def test_as_many_rows_as_the_model_takes(home: Path, first: str | int, count: int) -> None:
    assert write_golden(home, signature(first), ROWS, ROWS.feeds)
    golden = read_golden(home / "golden.npz", signature(first))
    assert golden is not None
    assert len(golden.inputs[0]) == len(golden.outputs["y"]) == len(golden.labels[""]) == count


def test_an_output_without_a_row_for_each_is_left_out(home: Path) -> None:
    boxes = [(np.ones((i % 3, 2), np.float32),) for i in range(40)]
    write_golden(home, signature("n"), ROWS, boxes)
    golden = read_golden(home / "golden.npz", signature("n"))
    assert golden is not None
    assert golden.outputs == {}


def test_a_version_beside_a_flat_model_is_the_next(tmp_path: Path) -> None:
    home = tmp_path / "m"
    home.mkdir()
    (home / "model.onnx").write_bytes(scale(1))
    (home / "²").mkdir()
    made = tmp_path / "made.onnx"
    made.write_bytes(scale(2))
    given = (
        TensorSpec("x", DATATYPES["FP32"], ("n", 2)),
        TensorSpec("y", DATATYPES["FP32"], ("n", 2)),
    )
    check_home(home, Signature(given[:1], given[1:]))
    assert publish(home, made, {}, "") == 2
    assert (home / "2/model.onnx").read_bytes() == scale(2)
    with pytest.raises(ConfigError, match='is another model: its version 2 takes "x"'):
        check_home(home, Signature((), ()))


def test_a_model_in_the_root_gets_no_version(tmp_path: Path) -> None:
    root = tmp_path / "own"
    root.mkdir()
    (root / "model.onnx").write_bytes(scale(1))
    with pytest.raises(ConfigError, match="choose another name with --name"):
        check_home(root / "own", Signature((), ()))
    assert not (root / "own").exists()
