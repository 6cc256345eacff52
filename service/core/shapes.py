"""Finds request shapes that may be the reason why a run failed, although they fit the signature."""

from collections.abc import Iterable

from service.core.tensors import Array, Arrays, Overriding, Signature, TensorSpec, show_shape


def doubtful_shapes(signature: Signature, arrays: Arrays) -> str:
    """Name the shapes that the signature allows and a graph may refuse; "" if there are none.

    The client chose these shapes, so the request is at fault, not the model.
    """
    named = list(zip(signature.inputs, arrays, strict=False))
    rows = {array.shape[0] for _, array in named if array.shape}
    overrides = arrays.overrides if isinstance(arrays, Overriding) else {}
    given = [spec for spec in signature.optional if spec.name in overrides]
    named += [(spec, overrides[spec.name]) for spec in given]
    for spec, array in named:
        if 0 in array.shape:
            return f'input "{spec.name}" without elements, {show_shape(array.shape)}'
    apart = signature.declared is None and len(rows) > 1
    open_override = any(not isinstance(dim, int) for spec in given for dim in spec.shape)
    unranked = not all(spec.ranked for spec, _ in named)
    if apart or open_override or unranked or _symbols_differ(named):
        shown = " and ".join(f'"{spec.name}" {show_shape(array.shape)}' for spec, array in named)
        return f"these inputs, {shown}"
    return ""


def _symbols_differ(named: Iterable[tuple[TensorSpec, Array]]) -> bool:
    """Return whether one symbol has two different lengths."""
    lengths: dict[str, int] = {}
    for spec, array in named:
        for dim, length in zip(spec.shape, array.shape, strict=False):
            if isinstance(dim, str) and lengths.setdefault(dim, length) != length:
                return True
    return False
