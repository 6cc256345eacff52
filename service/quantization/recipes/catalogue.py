"""Recipes as frozen values, and which of them apply to which kind of graph.

A recipe describes a quantization; ``build`` applies it with onnxruntime.quantization. The winner is
measured, not assumed. The order of recipes affects only the duration of a search: a good candidate
found early lets it drop slow ones sooner.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

Integer = Literal["U8", "S8"]
Preparation = Literal["processed", "raw"]


class Kind(StrEnum):
    """The kind of a graph, by its dominant operators; a graph may have several kinds."""

    CONV = "conv"
    TRANSFORMER = "transformer"
    RECURRENT = "recurrent"
    EMBEDDING = "embedding"
    DENSE = "dense"
    TREE = "tree"


PRODUCTS = ("Conv", "Gemm", "MatMul")
"""The operators that take most of the time."""
SMOOTH = PRODUCTS + (
    "Add", "Mul", "Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool",
    "Concat", "Resize", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Pad", "Split",
    "Slice", "ReduceMean",
)  # fmt: skip
"""All but operators with a small output range: Softmax, Sigmoid, normalisations."""
EVERY: tuple[str, ...] = ()
"""All operators that ONNX Runtime can quantize."""


@dataclass(frozen=True, slots=True)
class Dynamic:
    """Dynamic quantization: activations are quantized at run time, with one scale per tensor."""

    weights: Integer = "S8"
    per_channel: bool = True
    reduce_range: bool = False
    ops: tuple[str, ...] = ("MatMul", "Gemm", "Gather", "Attention", "LSTM")
    kind: Literal["dynamic"] = "dynamic"


@dataclass(frozen=True, slots=True)
class Static:
    """Static quantization: the scales of activations come from calibration.

    ``reduce_range``: 7-bit weights, so that sums do not saturate on CPUs without VNNI.
    ``inputs_only``: quantize the inputs of products, and leave their outputs in float.
    """

    activations: Integer = "U8"
    weights: Integer = "S8"
    per_channel: bool = True
    reduce_range: bool = False
    form: Literal["QDQ", "QOperator"] = "QDQ"
    calibrator: Literal["MinMax", "Percentile", "Entropy"] = "MinMax"
    ops: tuple[str, ...] = SMOOTH
    inputs_only: bool = False
    tables: bool = False
    kind: Literal["static"] = "static"


@dataclass(frozen=True, slots=True)
class PerRow:
    """Dynamic quantization with one scale per row of an activation, and of an embedding table.

    ``asymmetric``: the range is from the minimum to the maximum of the row. Activations without
    negative values, such as outputs of Relu, use 0 to the maximum in any case. ``smoothing`` moves
    outliers of activations to the weights, using calibration rows. ``reduce_range``: 7-bit weights.
    """

    asymmetric: bool = True
    smoothing: bool = False
    reduce_range: bool = False
    ops: tuple[str, ...] = ("MatMul", "Gemm", "Gather")
    kind: Literal["per-row"] = "per-row"


@dataclass(frozen=True, slots=True)
class WeightOnly:
    """MatMul weights in blocks of few bits. ``accuracy_level`` 4 allows INT8 kernels.

    ``k_quant`` fits scale and offset of each block by least squares, and is never symmetric.
    ``mixed``: the recipe's ``wide_nodes`` keep 8 bits.
    """

    bits: Literal[2, 4, 8] = 4
    block: int = 128
    accuracy_level: int = 4
    symmetric: bool = True
    tables: bool = False
    algorithm: Literal["RTN", "HQQ", "k_quant"] = "RTN"
    mixed: bool = False
    kind: Literal["weight-only"] = "weight-only"


@dataclass(frozen=True, slots=True)
class Half:
    """16-bit floats inside, FP32 inputs and outputs."""

    datatype: Literal["FP16", "BF16"] = "FP16"
    kind: Literal["half"] = "half"


@dataclass(frozen=True, slots=True)
class Imported:
    """A given quantized file, such as one from quantization-aware training."""

    path: str
    kind: Literal["imported"] = "imported"


Method = Dynamic | Static | PerRow | WeightOnly | Half | Imported


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named quantization. ``float_nodes`` stay in float; ``wide_nodes`` get 8 bits where others
    get fewer. ``sparsity`` is the share of each weight tensor that is set to 0 first, by smallest
    magnitude."""

    name: str
    method: Method
    preparation: Preparation = "processed"
    float_nodes: tuple[str, ...] = ()
    wide_nodes: tuple[str, ...] = ()
    sparsity: float = 0.0

    @property
    def calibrated(self) -> bool:
        """True if the recipe needs calibration rows."""
        method = self.method
        return isinstance(method, Static) or (isinstance(method, PerRow) and method.smoothing)


def catalogue(kinds: frozenset[Kind], saturates: bool) -> tuple[Recipe, ...]:
    """Return the recipes for a graph of these kinds, without duplicates, the most promising first.

    ``saturates`` is True if U8S8 sums of ONNX Runtime's default kernels saturate on this CPU, so
    that 8-bit weights need slower kernels. It affects only the order.
    """
    if Kind.TREE in kinds:
        return ()
    found: dict[Method, Recipe] = {}
    for recipe in (*_leading(kinds, saturates), *_following(kinds, saturates)):
        found.setdefault(recipe.method, recipe)
    first = next((r for r in found.values() if r.calibrated), None)
    if first is None or Kind.CONV not in kinds:
        return tuple(found.values())
    raw = replace(first, name=f"{first.name}, no pre-processing", preparation="raw")
    return (*found.values(), raw)


def pruned(recipe: Recipe, sparsity: float) -> Recipe:
    """Return the same recipe on magnitude-pruned weights."""
    return replace(recipe, name=f"{recipe.name}, {sparsity:.0%} pruned", sparsity=sparsity)


def mixed(recipe: Recipe, float_nodes: tuple[str, ...]) -> Recipe:
    """Return the same recipe with some nodes in float."""
    nodes = "1 node" if len(float_nodes) == 1 else f"{len(float_nodes)} nodes"
    name = f"{recipe.name}, {nodes} in float"
    return replace(recipe, name=name, float_nodes=float_nodes)


def _leading(kinds: frozenset[Kind], saturates: bool) -> Iterator[Recipe]:
    if Kind.CONV in kinds:
        yield from _static_convolutions(saturates)
    if Kind.RECURRENT in kinds:
        yield from _dynamic(saturates)  # the only method that quantizes recurrences
    if kinds & {Kind.TRANSFORMER, Kind.RECURRENT, Kind.EMBEDDING} or kinds == {Kind.DENSE}:
        tables = bool(kinds & {Kind.TRANSFORMER, Kind.EMBEDDING})
        yield from per_row(saturates)
        yield from _static_products(saturates, tables)
        yield from _dynamic(saturates)


def _following(kinds: frozenset[Kind], saturates: bool) -> Iterator[Recipe]:
    if kinds & {Kind.TRANSFORMER, Kind.EMBEDDING} or kinds == {Kind.DENSE}:
        yield Recipe("static QDQ U8S8 per-channel", Static())
        yield Recipe("static QDQ S8S8 per-channel", Static(activations="S8"))
        yield Recipe("static QDQ U8S8 per-channel, every op", Static(ops=EVERY))
        yield from _weight_only()
    if Kind.CONV in kinds:
        yield from _calibrators(saturates)
        yield Recipe("dynamic S8 per-channel", Dynamic())
        yield Recipe("dynamic S8 with Conv", Dynamic(ops=PRODUCTS))
    yield Recipe("FP16", Half("FP16"))
    yield Recipe("BF16", Half("BF16"))


def _static_convolutions(saturates: bool) -> Iterator[Recipe]:
    full = Recipe("static QDQ U8S8 per-channel", Static())
    reduced = Recipe("static QDQ U8S8 per-channel, 7-bit weights", Static(reduce_range=True))
    yield from (reduced, full) if saturates else (full, reduced)
    yield Recipe(
        "static QDQ U8S8 per-tensor, 7-bit weights", Static(per_channel=False, reduce_range=True)
    )
    yield Recipe("static QDQ U8S8 per-tensor", Static(per_channel=False))
    yield Recipe("static QDQ U8U8 per-tensor", Static(weights="U8", per_channel=False))
    yield Recipe("static QDQ S8S8 per-channel", Static(activations="S8"))
    bits = ", 7-bit weights" if saturates else ""
    base = Static(reduce_range=saturates)
    yield Recipe(
        f"static QOperator U8S8 per-channel{bits}", replace(base, form="QOperator", ops=PRODUCTS)
    )
    yield Recipe(f"static QDQ U8S8 per-channel, products only{bits}", replace(base, ops=PRODUCTS))
    inputs = replace(base, ops=PRODUCTS, inputs_only=True)
    yield Recipe(f"static U8S8 products' inputs only{bits}", inputs)
    yield Recipe(f"static QDQ U8S8 per-channel, every op{bits}", replace(base, ops=EVERY))


def _static_products(saturates: bool, tables: bool) -> Iterator[Recipe]:
    base = Static(ops=PRODUCTS, inputs_only=True)
    for with_tables, words in ((True, " and INT8 tables"), (False, "")):
        if with_tables and not tables:
            continue
        found = replace(base, tables=with_tables)
        yield Recipe(f"static U8S8 products' inputs only{words}", found)
        yield Recipe(f"static U8U8 products' inputs only{words}", replace(found, weights="U8"))
        if saturates:
            yield Recipe(
                f"static U8S8 products' inputs only{words}, 7-bit weights",
                replace(found, reduce_range=True),
            )
    yield Recipe("static S8S8 products' inputs only", replace(base, activations="S8"))


def _dynamic(saturates: bool) -> Iterator[Recipe]:
    yield Recipe("dynamic S8 per-channel", Dynamic())
    yield Recipe("dynamic U8 per-channel", Dynamic(weights="U8"))
    yield Recipe("dynamic S8 per-tensor", Dynamic(per_channel=False))
    yield Recipe("dynamic U8 per-tensor", Dynamic(weights="U8", per_channel=False))
    if saturates:
        yield Recipe("dynamic S8 per-channel, 7-bit weights", Dynamic(reduce_range=True))


def per_row(saturates: bool) -> Iterator[Recipe]:
    """Yield the variants of per-row dynamic INT8."""
    for bits, reduced in ((", 7-bit weights", True), ("", False)):
        if reduced and not saturates:
            continue
        for smoothed, smoothing in ((", smoothed", True), ("", False)):
            for form, asymmetric in (("symmetric", False), ("asymmetric", True)):
                method = PerRow(asymmetric, smoothing, reduced)
                yield Recipe(f"per-row dynamic INT8 {form}{smoothed}{bits}", method)


def _weight_only() -> Iterator[Recipe]:
    # With blocks of up to 64, answers are independent of the other rows of a batch.
    yield Recipe("weight-only 8-bit, block 32", WeightOnly(8, block=32))
    yield Recipe("weight-only 8-bit, block 64", WeightOnly(8, block=64))
    yield Recipe("weight-only 8-bit, block 128", WeightOnly(8))
    yield Recipe("weight-only 8-bit, block 256", WeightOnly(8, block=256))
    yield Recipe("weight-only 8-bit and INT8 tables", WeightOnly(8, tables=True))
    yield Recipe("weight-only 4-bit, block 128", WeightOnly(4))
    yield Recipe("weight-only 4-bit, block 32", WeightOnly(4, block=32))
    yield Recipe("weight-only 4-bit and tables, block 32", WeightOnly(4, block=32, tables=True))
    yield Recipe("weight-only 4-bit, block 32, float products", WeightOnly(4, 32, 0))
    yield Recipe("weight-only 4-bit HQQ, block 64", WeightOnly(4, 64, algorithm="HQQ"))
    yield Recipe("weight-only 2-bit, block 32", WeightOnly(2, 32))


def _calibrators(saturates: bool) -> Iterator[Recipe]:
    base, name = Static(reduce_range=saturates), "static QDQ U8S8 per-channel"
    bits = ", 7-bit weights" if saturates else ""
    yield Recipe(f"{name}, Percentile{bits}", replace(base, calibrator="Percentile"))
    yield Recipe(f"{name}, Entropy{bits}", replace(base, calibrator="Entropy"))
