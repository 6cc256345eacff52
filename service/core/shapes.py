"""What may be wrong with the shapes of a request that fits the signature, once a run failed."""

from service.core.tensors import Arrays, Signature, show_shape


def doubtful_shapes(signature: Signature, arrays: Arrays) -> str:
    """What a graph may refuse in shapes that the signature leaves open; "" where it is nothing.

    Such shapes are the client's to choose, so that a failure is not the model's.
    """
    named = list(zip(signature.inputs, arrays, strict=False))
    for spec, array in named:
        if 0 in array.shape:
            return f'input "{spec.name}" without elements, {show_shape(array.shape)}'
    rows = {array.shape[0] for _, array in named if array.shape}
    apart = signature.declared is None and len(rows) > 1
    if apart or _symbols_differ(signature, arrays) or not all(s.ranked for s, _ in named):
        shown = " and ".join(f'"{spec.name}" {show_shape(array.shape)}' for spec, array in named)
        return f"these inputs, {shown}"
    return ""


def _symbols_differ(signature: Signature, arrays: Arrays) -> bool:
    """Whether a symbol stands for two lengths."""
    lengths: dict[str, int] = {}
    for spec, array in zip(signature.inputs, arrays, strict=False):
        for dim, length in zip(spec.shape, array.shape, strict=False):
            if isinstance(dim, str) and lengths.setdefault(dim, length) != length:
                return True
    return False
