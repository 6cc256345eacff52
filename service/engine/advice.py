"""What would let a model run better, with the command."""

import shlex
from pathlib import Path

from service.core.batching import BatchingMode
from service.engine.graph import GraphSummary
from service.engine.plan import Plan

CONVERTIBLE = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul"}
"""Operators of dynamic quantization that ``quantize --from-int8`` gives a scale for each row."""


def sharing_runs(plan: Plan, summary: GraphSummary, model: Path, name: str) -> str:
    """How the rows of a dynamically quantized model may share a run; "" where they do, or where
    something else keeps them apart. ``model`` is its file, relative to the models folder: the text
    is for clients too, which need not know where that is."""
    known = CONVERTIBLE & summary.operators and "DynamicQuantizeLSTM" not in summary.operators
    if plan.mode is not BatchingMode.ROWS or not summary.precision.dynamic or not known:
        return ""
    command = ["quantserve", "quantize", "--from-int8", str(model), "--data", "ROWS"]
    command += ["--name", name, "--models", "."]
    return (
        f"a scale for each row would let its rows share runs, in the models folder: "
        f"{shlex.join(command)}"
    )
