"""Products of a language model that eight bits a row of their activation are too few for.

A few values of such an activation are hundreds of times as large as the others of their row, which
then round to nothing. The products in question stay in float: they are few.
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
"""Rounding that changes a product by more than this many times what it changes the median one."""
STEPS = 255


def outliers(
    model: onnx.ModelProto,
    config: LanguageConfig,
    texts: Iterable[Sequence[int]],
    scratch: Path | None = None,
) -> tuple[str, ...]:
    """The names of nodes that are to stay in float, found by a run of the FP32 model on texts.
    ``scratch`` is a folder for a copy of the model.

    Raises:
        Exception: whatever ONNX Runtime raises of the model.
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
    """The model with activations as outputs."""
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
    """By how much rounding changes the products of each activation, as a share of their size."""
    moved = {name: np.zeros(2) for name in weights}
    for text in texts:
        values = session.run(list(weights), _feeds(session, config, text))
        for name, value in zip(weights, values, strict=True):
            for weight in weights[name]:
                moved[name] += _change(value.reshape(-1, value.shape[-1]), weight)
    return {name: float(np.sqrt(lost / size)) for name, (lost, size) in moved.items() if size > 0}


def _change(value: Array, weight: Array) -> NDArray[np.float64]:
    """The squares of what rounding changes in a product, and of the product."""
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
    """A text as a whole, behind nothing."""
    names, shape = config.decoder.inputs, config.decoder
    tokens = np.array([text], np.int64)
    given: dict[str, Array] = {
        names.input_ids: tokens,
        names.attention_mask: np.ones_like(tokens),
        names.position_ids: np.arange(tokens.shape[1], dtype=np.int64)[None],
    }
    past = np.zeros((1, shape.num_key_value_heads, 0, shape.head_size), np.float32)
    return {each.name: given.get(each.name, past) for each in session.get_inputs()}
