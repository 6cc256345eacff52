"""Finds the products of a language model whose activations need more than eight bits per row.

A few values of such an activation are hundreds of times as large as the other values of their row,
which are then rounded to 0. These products stay in float; there are only a few of them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service.core.tensors import Array
from service.engine.generation.genai_config import LanguageConfig
from service.quantization.graphs.products import Constants, product_of
from service.quantization.recipes.per_row import activations_of

FACTOR = 2.0
"""Products stay in float if rounding changes them by more than this multiple of the median
change."""
STEPS = 255


def outliers(
    model: onnx.ModelProto,
    config: LanguageConfig,
    texts: Iterable[Sequence[int]],
    scratch: Path | None = None,
) -> tuple[str, ...]:
    """Return the names of the nodes that must stay in float, found by running the FP32 model on
    texts. ``scratch`` is a folder for a copy of the model.

    Raises:
        Exception: any exception that ONNX Runtime raises for the model.
    """
    weights = activations_of(model)
    with TemporaryDirectory(dir=scratch) as folder:
        changed = _changes(_session(model, list(weights), Path(folder)), config, weights, texts)
    if not changed:
        return ()
    most = FACTOR * median(changed.values())
    far = {activation for activation, change in changed.items() if change > most}
    constants = Constants(model.graph, model.ir_version)
    products = ((node.name, product_of(node, constants)) for node in model.graph.node)
    return tuple(name for name, each in products if each is not None and each.activation in far)


def _session(
    model: onnx.ModelProto, activations: Sequence[str], folder: Path
) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session of the model with the activations as outputs."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    there = {output.name for output in shown.graph.output}
    shown.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in activations
        if name not in there
    )
    path = folder / "model.onnx"
    onnx.save(shown, path, save_as_external_data=True, location="model.onnx.data")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _changes(
    session: onnxruntime.InferenceSession,
    config: LanguageConfig,
    weights: dict[str, list[Array]],
    texts: Iterable[Sequence[int]],
) -> dict[str, float]:
    """Return the relative rounding error of the products of each activation."""
    moved = {name: np.zeros(2) for name in weights}
    for text in texts:
        values = session.run(list(weights), _feeds(session, config, text))
        for name, value in zip(weights, values, strict=True):
            for weight in weights[name]:
                moved[name] += _change(value.reshape(-1, value.shape[-1]), weight)
    return {name: float(np.sqrt(lost / size)) for name, (lost, size) in moved.items() if size > 0}


def _change(value: Array, weight: Array) -> NDArray[np.float64]:
    """Return the sum of squares of a product's rounding error, and that of the product."""
    low = np.minimum(value.min(axis=1, keepdims=True), 0)
    high = np.maximum(value.max(axis=1, keepdims=True), 0)
    step = (high - low) / STEPS
    step[step == 0] = 1
    rounded = np.round((value - low) / step) * step + low
    products = (rounded - value) @ weight, value @ weight
    return np.array([np.square(each, dtype=np.float64).sum() for each in products])


def _feeds(
    session: onnxruntime.InferenceSession, config: LanguageConfig, text: Sequence[int]
) -> dict[str, Array]:
    """Return the inputs for a whole text, with an empty cache."""
    names, shape = config.decoder.inputs, config.decoder
    tokens = np.array([text], np.int64)
    given: dict[str, Array] = {
        names.input_ids: tokens,
        names.attention_mask: np.ones_like(tokens),
        names.position_ids: np.arange(tokens.shape[1], dtype=np.int64)[None],
    }
    past = np.zeros((1, shape.num_key_value_heads, 0, shape.head_size), np.float32)
    return {each.name: given.get(each.name, past) for each in session.get_inputs()}
