"""Casts arrays to the dtypes of a model's inputs: floats to floats, integers to integers.

NumPy creates float64 and, on some systems, int32 by default; these are cast. Ambiguous casts are
rejected: uint8 pixels for an FP32 input may mean the range 0 to 255 or 0 to 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from service.core.errors import ConfigError
from service.core.tensors import Array, Signature, TensorSpec

Feed = Mapping[str, Array]


def cast_feeds(feeds: Sequence[Feed], signature: Signature) -> tuple[list[Feed], tuple[str, ...]]:
    """Cast feeds to the model's dtypes. Returns them with a note for each input that was cast.

    Raises:
        ConfigError: a value does not fit the model's dtype, or the cast is ambiguous.
    """
    notes: dict[str, None] = {}
    found: list[Feed] = []
    for feed in feeds:
        arrays = dict(feed)
        for spec in signature.inputs:
            if spec.name in arrays:
                before = np.asarray(arrays[spec.name])
                arrays[spec.name] = cast(before, spec)
                if before.dtype.kind in "iuf" and before.dtype != spec.datatype.dtype:
                    note = f'"{spec.name}" came as {before.dtype} and was cast to {spec.datatype}.'
                    notes[note] = None
        found.append(arrays)
    return found, tuple(notes)


def cast(array: Array, spec: TensorSpec) -> Array:
    """Cast an array to the input's dtype. Floats are rounded; integers keep their values.

    Raises:
        ConfigError: see ``cast_feeds``.
    """
    want, got = spec.datatype.dtype, array.dtype
    if spec.datatype.name == "BYTES":
        return _text(array, spec)
    if got == want:
        return array
    if spec.datatype.name == "BF16" or got.kind not in "iuf":
        raise _unfit(array, spec)
    if want.kind == "f" and got.kind == "f":
        with np.errstate(over="ignore"):
            values: Array = array.astype(want)
        if np.isinf(values).sum() != np.isinf(array).sum():
            raise _unfit(array, spec, f", with values beyond {np.finfo(want).max:.3g}")
        return values
    if want.kind in "iu" and got.kind in "iu":
        limits = np.iinfo(want)
        if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
            raise _unfit(array, spec, f", with values from {array.min()} to {array.max()}")
        return array.astype(want)
    if want.kind == "f":
        raise _unfit(array, spec, "; scale and cast it as your service does before inference")
    raise _unfit(array, spec)


def _text(array: Array, spec: TensorSpec) -> Array:
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8").astype(object)
    if array.dtype.kind == "O" and not all(isinstance(each, str) for each in array.flat):
        raise _unfit(array, spec, " that are not all strings")
    if array.dtype.kind not in "UO":
        raise _unfit(array, spec)
    return array.astype(object)


def _unfit(array: Array, spec: TensorSpec, why: str = "") -> ConfigError:
    return ConfigError(f'data "{spec.name}": the model takes {spec}, got {array.dtype}{why}')
