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
    something else keeps them apart."""
    known = CONVERTIBLE & summary.operators and "DynamicQuantizeLSTM" not in summary.operators
    if plan.mode is not BatchingMode.ROWS or not summary.precision.dynamic or not known:
        return ""
    command = ["quantserve", "quantize", "--from-int8", str(model), "--data", "ROWS"]
    command += ["--name", name, "--models", str(_models_folder(model, name))]
    return f"a scale for each row would let its rows share runs: {shlex.join(command)}"


def _models_folder(model: Path, name: str) -> Path:
    """The folder above that of the model."""
    return next((each.parent for each in model.parents if each.name == name), model.parent)
