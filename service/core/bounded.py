"""Decides whether the shapes of a graph's inputs bound its run time, for any values.

A value may set the number of turns of a loop, or the size of a tensor. Such a graph may be fast on
the rows of the probe and never end on the next request.

Operators: https://onnx.ai/onnx/operators/ and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

STANDARD = ("", "ai.onnx", "ai.onnx.ml")
RUNTIME = "com.microsoft"

UNBOUNDED = frozenset(
    {
        # These run subgraphs: as often as a value says, or one of several.
        "If",
        "Loop",
        "Scan",
        "SequenceMap",
        # The corners of a region set the number of points that are sampled.
        "RoiAlign",
        # The shapes of the outputs depend on values.
        "Compress",
        "ImageDecoder",
        "NonMaxSuppression",
        "NonZero",
        "StringNormalizer",
        "StringSplit",
        "Unique",
        # A sequence holds any number of tensors, and no shape states how many.
        "ConcatFromSequence",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SplitToSequence",
    }
)
"""Standard operators whose cost no shape bounds."""

REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
SIZES: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "DFT": (1, 2),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1, 2),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    **dict.fromkeys(REDUCTIONS, (1,)),
}
"""The inputs of an operator that are sizes. Operators that only make a tensor smaller are included:
the shapes behind them no longer follow from the shapes of the model's inputs."""

SHAPES = frozenset({"Shape", "Size"})
"""Operators whose outputs depend on shapes alone."""
FALLING = frozenset(
    {"Abs", "BitwiseNot", "BitwiseXor", "BitShift", "Cos", "Div", "Mod", "Neg", "Not", "Pow"}
    | {"Reciprocal", "Sin", "Sub", "Xor"}
)
"""Operators whose outputs may grow while a shape shrinks below the measured ones. Their outputs are
bounded if all inputs are constants, or if a constant is subtracted from a shape or divides it."""
LESS_A_CONSTANT = frozenset({"Div", "Sub"})
RANDOM = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"}
    | {"RandomUniformLike"}
)
"""Operators whose outputs are random."""

BOUNDED_CONTRIB = frozenset(
    {
        *("Attention", "BiasAdd", "BiasGelu", "BiasSoftmax", "BiasSplitGelu", "DequantizeLinear"),
        *("DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "EmbedLayerNormalization", "FastGelu"),
        *("FusedConv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation", "GatherBlockQuantized"),
        *("Gelu", "GroupNorm", "GroupQueryAttention", "MatMulBnb4", "MatMulFpQ4"),
        *("MatMulInteger16", "MatMulIntegerToFloat", "MatMulNBits", "MulInteger"),
        *("MultiHeadAttention", "NhwcConv", "NhwcFusedConv", "NhwcMaxPool", "QAttention"),
        *("QEmbedLayerNormalization", "QGemm", "QLinearAdd", "QLinearAveragePool"),
        *("QLinearConcat", "QLinearConv", "QLinearGlobalAveragePool", "QLinearLeakyRelu"),
        *("QLinearMul", "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax", "QLinearWhere"),
        *("QuantizeLinear", "QuickGelu", "ReduceSumInteger", "RotaryEmbedding"),
        *("SimplifiedLayerNormalization", "SkipLayerNormalization"),
        *("SkipSimplifiedLayerNormalization", "TransposeMatMul"),
    }
)
"""ONNX Runtime's own operators whose cost shapes bound. Some of the others search, decode or
generate."""


class Step(NamedTuple):
    """A node: its operator and the names of its inputs and outputs."""

    domain: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def unbounded_step(
    steps: Iterable[Step],
    constants: Collection[str],
    functions: Collection[tuple[str, str]] = (),
) -> str:
    """Describe the first step whose cost shapes do not bound; "" if there is none.

    ``steps`` are in the order in which they run. ``constants`` are the tensors that no request can
    change. ``functions`` are the functions that the file defines, by domain and name: the caller
    checks their nodes separately.
    """
    known, fixed = set(constants), set(constants)
    for step in steps:
        if why := _doubt(step, known, functions):
            return why
        if (step.domain, step.operator) in functions or step.operator in RANDOM:
            continue
        if _all_in(step.inputs, fixed):  # also a Constant, which has no inputs
            fixed.update(step.outputs)
            known.update(step.outputs)
        elif _follows(step, known, fixed):
            known.update(step.outputs)
    return ""


def _doubt(step: Step, known: set[str], functions: Collection[tuple[str, str]]) -> str:
    if (step.domain, step.operator) in functions:
        return ""
    if step.domain == RUNTIME:
        bounded = step.operator in BOUNDED_CONTRIB
        return "" if bounded else f"operator {RUNTIME}.{step.operator}"
    if step.domain not in STANDARD:
        return f"operator {step.domain}.{step.operator}"
    if step.operator in UNBOUNDED:
        return f"operator {step.operator}"
    sizes = [step.inputs[i] for i in SIZES.get(step.operator, ()) if i < len(step.inputs)]
    if any(name and name not in known for name in sizes):
        return f"operator {step.operator}, which takes a size from the values of an input"
    return ""


def _follows(step: Step, known: set[str], fixed: set[str]) -> bool:
    """Return whether the outputs of a node depend on constants and shapes only, and grow with
    them."""
    if step.operator in SHAPES:
        return True
    if step.operator in FALLING:
        less = step.operator in LESS_A_CONSTANT and _all_in(step.inputs[1:], fixed)
        return less and step.inputs[0] in known
    return _all_in(step.inputs, known)


def _all_in(names: Iterable[str], found: set[str]) -> bool:
    return all(not name or name in found for name in names)
