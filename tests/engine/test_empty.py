"""No input without elements reaches an operator that would end the process."""

from pathlib import Path

import numpy as np
import pytest

from service.core.errors import InputRejected
from service.engine.empty import Fatal, fatal_operator
from service.engine.session import Session, SessionOptions
from tests.engine import axes_graphs, graphs


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (0, 0, 3)])
def test_a_recurrent_network_refuses_it(
    operator: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    model = graphs.save(axes_graphs.recurrent(operator), tmp_path) / "model.onnx"
    served = Session(model, SessionOptions())
    assert served.run((np.ones((2, 2, 3), np.float32),))[0].shape == (2, 4)
    with pytest.raises(InputRejected, match=f"without elements, .*operator {operator} cannot"):
        served.run((np.ones(shape, np.float32),))


def test_the_cache_of_a_decoder_may_be_empty_but_not_its_batch() -> None:
    fatal = fatal_operator({"Add", "GroupQueryAttention"})
    assert fatal == Fatal("GroupQueryAttention", rows_only=True)
    fatal.check((np.ones((1, 4)), np.ones((1, 2, 0, 8)), np.ones(())))
    with pytest.raises(InputRejected):
        fatal.check((np.ones((0, 4)),))


def test_the_operator_that_bears_least_counts() -> None:
    assert fatal_operator({"Add", "MatMul"}) is None
    assert fatal_operator({"QAttention", "LSTM"}) == Fatal("LSTM", rows_only=False)
