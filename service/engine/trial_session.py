"""Sessions for the small models that ONNX Runtime's behaviour on this machine is tried with."""

from collections.abc import Sequence

import onnxruntime as ort


def trial_session(model: bytes, disabled_optimizers: Sequence[str] = ()) -> ort.InferenceSession:
    """A session of one thread that logs nothing but fatal errors; ``model`` is the content of an
    ONNX file.

    Raises:
        Exception: ONNX Runtime rejects the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(
        model, options, providers=["CPUExecutionProvider"],
        disabled_optimizers=list(disabled_optimizers),
    )  # fmt: skip
