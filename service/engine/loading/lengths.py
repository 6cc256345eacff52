"""Lengths to try for the axes that a model's file leaves open. Pure.

A symbol has the same length on all axes.
"""

from collections.abc import Iterator, Mapping
from random import Random

from service.core.tensors import Signature, TensorSpec

Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]
"""One shape for each input, in signature order."""

LENGTHS = (16, 8, 32, 64, 128, 224, 256, 1)
"""Tried in this order for variable axes; 224 is for images, 1 for graphs that accept no other
length."""
MORE_LENGTHS = (*range(2, 33), 48, 50, 96, 100, 300, 384, 512, 768, 784, 1024)
"""Also tried for inputs without a shape, whose width is unknown."""
DRAWS = 24
"""Random draws of one length for each symbol, after equal lengths have failed."""
DRAWN = (1, 2, 3, 4, 5, 7, 8, 16)


def shapes_to_try(signature: Signature, dims: Mapping[str, int]) -> Iterator[Shapes]:
    """Yield shapes of one request, the likeliest first: the same length for all axes, then a length
    for each symbol. ``dims`` has the lengths of some symbols.

    The first axes are 1, so that a request is one row. If the inputs do not declare a batch,
    lengths drawn for symbols may also apply to the first axes.
    """
    firsts = [spec.shape[0] for spec in signature.inputs if spec.shape]
    rows = {**{dim: 1 for dim in firsts if isinstance(dim, str)}, **dims}
    if not all(spec.ranked for spec in signature.inputs):
        yield from _guesses(signature, rows)
        return
    inner = {dim for spec in signature.inputs for dim in spec.shape[1:]}
    free = any(not isinstance(dim, int) and dim not in dims for dim in inner)
    for length in LENGTHS if free else LENGTHS[:1]:
        yield tuple(_shape(spec, rows, length) for spec in signature.inputs)
    yield from _draws(signature, rows if signature.declared else dims, rows)


def _shape(spec: TensorSpec, known: Mapping[str, int], length: int) -> Shape:
    """The first axis is 1 unless known, other unknown axes are ``length``."""
    return tuple(
        dim if isinstance(dim, int) else known.get(dim or "", length if axis else 1)
        for axis, dim in enumerate(spec.shape)
    )


def _draws(
    signature: Signature, known: Mapping[str, int], rows: Mapping[str, int]
) -> Iterator[Shapes]:
    """Yield shapes with a length for each symbol; none if there is only one length to choose.

    A decoder's cache (``past``) may be empty. That is tried first: the sum of the past and the new
    length is then the new length.
    """
    axes = [dim for spec in signature.inputs for dim in spec.shape]
    symbols = sorted({d for d in axes if isinstance(d, str) and d not in known})
    if len(symbols) + axes.count(None) < 2:
        return
    past = {name: 0 for name in symbols if "past" in name.lower()}
    if past:
        yield tuple(_shape(spec, {**rows, **past}, LENGTHS[0]) for spec in signature.inputs)
    for seed in range(DRAWS):
        random = Random(seed)
        drawn = {**{name: random.choice(DRAWN) for name in symbols}, **known}
        batched = bool(signature.declared)
        yield tuple(_drawn(spec, drawn, random, batched=batched) for spec in signature.inputs)


def _drawn(spec: TensorSpec, drawn: Mapping[str, int], random: Random, *, batched: bool) -> Shape:
    shape = []
    for axis, dim in enumerate(spec.shape):
        if isinstance(dim, int):
            shape.append(dim)
        elif dim is not None:
            shape.append(drawn[dim])
        else:
            shape.append(1 if batched and axis == 0 else random.choice(DRAWN))
    return tuple(shape)


def _guesses(signature: Signature, known: Mapping[str, int]) -> Iterator[Shapes]:
    """Yield shapes for inputs without a shape: ranks 0 to 4, at many lengths."""
    for length in (*LENGTHS, *MORE_LENGTHS):
        guesses: list[Shape] = [(1, length), (length,), (1, length, length), ()]
        if length in LENGTHS:
            guesses.append((1, 3, length, length))
        for guess in guesses:
            yield tuple(
                _shape(spec, known, length) if spec.ranked else guess for spec in signature.inputs
            )
