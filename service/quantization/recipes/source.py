"""Checks that an FP32 model can be quantized, and determines the kind of its graph."""

import shutil
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx

from service.core.errors import ConfigError, LoadFailed
from service.core.tensors import Signature
from service.engine.loading.rehearsal import rehearse_file
from service.engine.loading.tuning import settled_signature
from service.engine.onnx_file.summary import check_external_files, summarise
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.quantization.data.layout import joins
from service.quantization.graphs.parts import all_nodes
from service.quantization.recipes.catalogue import Kind

MOST_BYTES = 2 * 10**9
"""The maximum size of a model in bytes: ONNX's tools pass models as protobuf messages, which must
be smaller than 2 GiB."""
SPACE = 4
"""The required free disk space, in multiples of the model's size: for prepared copies, a candidate
and the best candidate so far."""
RECURRENT = {"LSTM", "GRU", "RNN"}


@dataclass(frozen=True, slots=True)
class Source:
    """A usable FP32 model. ``file_bytes`` includes external data. ``batched`` is True if the
    signature allows rows to be batched."""

    path: Path
    signature: Signature
    kinds: frozenset[Kind]
    file_bytes: int
    batched: bool


def read_source(path: Path, scratch: Path) -> Source:
    """Check a model file. ``scratch`` is a folder on the disk where the search stores its files.

    Raises:
        ConfigError: the model cannot be quantized; the message says what to do instead.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    try:
        summary = summarise(path)
        check_external_files(summary, path.parent)
        size = sum(file.stat().st_size for file in files_of(path))
        _check_size(path, size, scratch)
        precision = summary.precision
        if precision.scheme:
            convert = ", or convert it with --from-int8" if precision.dynamic else ""
            raise ConfigError(
                f"{path.name} is already quantized ({precision}); start from its FP32 form, or "
                f"give it as --qat in addition to the FP32 form{convert}"
            )
        if not precision.trees and dict(precision.shares).get("FP64", 0) >= 0.5:
            raise ConfigError(
                f"{path.name} has its weights in FP64, which ONNX Runtime's tools do not quantize; "
                "export it in FP32"
            )
        rehearse_file(path)
        signature = settled_signature(Session(path, SessionOptions(1), summary), precision)
    except LoadFailed as error:
        named = str(error) if path.name in str(error) else f"{path.name}: {error}"
        raise ConfigError(named) from None
    model = onnx.load(path, load_external_data=False)
    return Source(path, signature, kinds_of(model), size, joins(signature) and signature.has_rows)


def files_of(path: Path) -> tuple[Path, ...]:
    """Return a model's file and its files of external data.

    Raises:
        LoadFailed: it is not an ONNX model.
    """
    return path, *(path.parent / name for name in sorted(summarise(path).external_files))


def doubt_of_precision(precision: str) -> str:
    """Return a note on a source file that is not in FP32, or "".

    ONNX Runtime's tools keep the weights of such a file, and add a QuantizeLinear after each.
    """
    if not any(kind in precision for kind in ("FP16", "BF16", "FP64")):
        return ""
    return (
        f'"FP32" means the given file, whose weights are {precision}; with its FP32 form as the '
        "source, the results would be smaller"
    )


def kinds_of(model: onnx.ModelProto) -> frozenset[Kind]:
    """Return the kinds of a graph, by its operators and the distribution of its weights."""
    nodes = list(all_nodes(model.graph))
    operators = {node.op_type for node in nodes}
    if any(node.op_type.startswith("TreeEnsemble") for node in nodes):
        return frozenset({Kind.TREE})
    sizes = _weight_sizes(model.graph, nodes)
    total = sum(sizes.values()) or 1
    kinds = set()
    if sizes["Conv"] >= 0.05 * total:
        kinds.add(Kind.CONV)
    if operators & RECURRENT:
        kinds.add(Kind.RECURRENT)
    if sizes["Gather"] >= 0.5 * total:
        kinds.add(Kind.EMBEDDING)
    products = sizes["MatMul"] + sizes["Gemm"]
    if products >= 0.05 * total:
        attends = "Softmax" in operators and "MatMul" in operators and _attends(model.graph)
        kinds.add(Kind.TRANSFORMER if attends or "Attention" in operators else Kind.DENSE)
    return frozenset(kinds or {Kind.DENSE})


def _weight_sizes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> dict[str, int]:
    elements = {tensor.name: prod(tensor.dims) for tensor in graph.initializer}
    for node in nodes:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            elements[node.output[0]] = prod(node.attribute[0].t.dims)
    sizes = dict.fromkeys(("Conv", "MatMul", "Gemm", "Gather", "other"), 0)
    for node in nodes:
        key = node.op_type if node.op_type in sizes else "other"
        sizes[key] += sum(elements.get(name, 0) for name in node.input)
    return sizes


def _attends(graph: onnx.GraphProto) -> bool:
    """Return True if the graph has a MatMul of two activations, as in attention."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return any(node.op_type == "MatMul" and not set(node.input) & constants for node in graph.node)


def _check_size(path: Path, size: int, scratch: Path) -> None:
    if size > MOST_BYTES:
        raise ConfigError(
            f"{path.name} is {size / 1e9:.1f} GB with its external data; the limit for quantizing "
            f"is {MOST_BYTES / 1e9:.0f} GB, the size of one protobuf message"
        )
    free = shutil.disk_usage(scratch).free
    if free < SPACE * size:
        raise ConfigError(
            f"{scratch} has {free / 1e6:.0f} MB free; quantizing {path.name} needs about "
            f"{SPACE * size / 1e6:.0f} MB"
        )
