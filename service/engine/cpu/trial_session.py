"""Sessions for trials of ONNX Runtime's kernels on this machine, with small models."""

from collections.abc import Sequence

import onnxruntime as ort


def trial_session(model: bytes, disabled_optimizers: Sequence[str] = ()) -> ort.InferenceSession:
    """Create a session with one thread that logs fatal errors only. ``model`` is an encoded model.

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
