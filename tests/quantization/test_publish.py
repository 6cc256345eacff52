"""The golden rows of a first version are such as its model can be asked."""

from pathlib import Path

import numpy as np
import pytest

from service.core.tensors import DATATYPES, Signature, TensorSpec
from service.engine.golden import read_golden
from service.quantization.data import Rows
from service.quantization.publish import write_golden

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
