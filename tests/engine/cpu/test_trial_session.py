"""A trial runs a small model on one thread, with the requested optimizers."""

import numpy as np
import pytest

from service.engine.cpu.fusions import SKIP_LAYER_NORM
from service.engine.cpu.trial_session import trial_session
from tests.repositories import scale


def test_a_model_runs_on_one_thread_of_the_cpu() -> None:
    session = trial_session(scale(3), (SKIP_LAYER_NORM,))
    (found,) = session.run(None, {"x": np.ones((2, 2), np.float32)})
    assert found.tolist() == [[3, 3], [3, 3]]
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == 1


def test_a_rejected_model_is_an_error_and_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Exception, match="(?i)protobuf|model"):
        trial_session(b"no model")
    assert capfd.readouterr() == ("", "")
