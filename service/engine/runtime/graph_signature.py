"""The signature of a graph that ONNX Runtime has opened."""

import onnxruntime as ort

from service.core.errors import LoadFailed
from service.core.tensors import DATATYPES, Dim, Signature, TensorSpec
from service.engine.onnx_file.summary import GraphSummary

# ONNX Runtime's names of element types, and the datatypes of the protocol.
ELEMENT_TYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
NO_NAMES = ("", "?", "-1", "None")
"""Symbols for an unknown length. They are not names that axes share."""
ZIPMAP_FALSE = "convert it with zipmap=False, so that it is a tensor"


def signature_of(session: ort.InferenceSession, file: str, summary: GraphSummary) -> Signature:
    """Return the inputs and outputs of the graph, from ONNX Runtime and the model file.

    Raises:
        LoadFailed: there is no output, or the protocol cannot carry a tensor.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    defaults = [arg for arg in session.get_overridable_initializers() if arg.type in ELEMENT_TYPES]
    if not outputs:
        raise LoadFailed(f"{file} has no output: there is nothing to serve")
    return Signature(
        tuple(_spec("input", arg, summary) for arg in inputs),
        tuple(_spec("output", arg, summary) for arg in outputs),
        tuple(_spec("input", arg, summary) for arg in defaults),
    )


def _spec(role: str, arg: ort.NodeArg, summary: GraphSummary) -> TensorSpec:
    datatype = ELEMENT_TYPES.get(arg.type)
    if datatype is None:
        what = f'{role} "{arg.name}" is a {arg.type}, which the protocol cannot carry'
        raise LoadFailed(f"{what}; {_instead(arg.type)}")
    shape = tuple(map(_dim, arg.shape))
    # ONNX Runtime shows a tensor without a shape as a scalar; only the file distinguishes them.
    ranked = bool(shape) or arg.name not in summary.unranked
    categories = summary.categories.get(arg.name, ())
    return TensorSpec(arg.name, DATATYPES[datatype], shape, ranked, categories)


def _instead(kind: str) -> str:
    """Return advice for a type that the protocol cannot carry."""
    if kind.startswith("seq(map"):
        return ZIPMAP_FALSE
    if kind.startswith("seq(tensor"):
        return "make each of its tensors an output, or join them into one tensor with Concat"
    return "convert the model so that it is a tensor of numbers or strings"


def _dim(given: int | str | None) -> Dim:
    """Return an axis of the signature: None for a name that exporters write for "unknown"."""
    if isinstance(given, str) and given.strip() in NO_NAMES:
        return None
    return given
