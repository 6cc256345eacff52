"""Advice for the operator of a model: how to make it faster, with the command."""

import shlex
from pathlib import Path

from service.core.batching import BatchingMode
from service.engine.loading.plan import Plan
from service.engine.onnx_file.summary import GraphSummary

CONVERTIBLE = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul"}
"""Operators of dynamic quantization that ``quantize --from-int8`` can change to one scale for each
row."""


def sharing_runs(plan: Plan, summary: GraphSummary, model: Path, name: str) -> str:
    """Return the command that lets rows of a dynamically quantized model share a run.

    Return "" if they already share runs, or if something else prevents it. ``model`` is the path of
    the model file relative to the models folder: clients read the text too, and must not learn
    where the folder is.
    """
    known = CONVERTIBLE & summary.operators and "DynamicQuantizeLSTM" not in summary.operators
    if plan.mode is not BatchingMode.ROWS or not summary.precision.dynamic or not known:
        return ""
    command = ["quantserve", "quantize", "--from-int8", str(model), "--data", "ROWS"]
    command += ["--name", name, "--models", "."]
    return (
        f"a scale for each row would let its rows share runs, in the models folder: "
        f"{shlex.join(command)}"
    )
