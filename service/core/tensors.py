"""Tensors, their datatypes, and the signature that says which of them a model takes.

Datatypes are those of the Open Inference Protocol v2. In memory a tensor is a numpy array:
BYTES is an object array of ``str`` (ONNX strings are UTF-8), and BF16, which numpy lacks, is the
``uint16`` array of its bit patterns; so a tensor carries its datatype beside its array.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from service.core.errors import SignatureMismatch

Array = npt.NDArray[Any]
Arrays = tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype of the protocol.

    ``kind`` says which JSON values it takes; ``size`` is bytes per element, 0 for BYTES.
    """

    name: str
    dtype: np.dtype[Any]
    kind: str
    size: int

    def __str__(self) -> str:
        return self.name


def _datatypes() -> dict[str, Datatype]:
    kinds = {"b": "boolean", "i": "integer", "u": "integer", "f": "number"}
    fixed = {
        "BOOL": np.bool_,
        "UINT8": np.uint8,
        "UINT16": np.uint16,
        "UINT32": np.uint32,
        "UINT64": np.uint64,
        "INT8": np.int8,
        "INT16": np.int16,
        "INT32": np.int32,
        "INT64": np.int64,
        "FP16": np.float16,
        "FP32": np.float32,
        "FP64": np.float64,
    }
    dtypes = {name: np.dtype(scalar) for name, scalar in fixed.items()}
    table = {n: Datatype(n, d, kinds[d.kind], d.itemsize) for n, d in dtypes.items()}
    table["BF16"] = Datatype("BF16", np.dtype(np.uint16), "number", 2)
    table["BYTES"] = Datatype("BYTES", np.dtype(object), "string", 0)
    return table


DATATYPES = _datatypes()


class Tensor(NamedTuple):
    """A named array with its datatype. (A named tuple: several are made for every request.)"""

    name: str
    datatype: Datatype
    array: Array


Dim = int | str | None
"""An axis of a signature: a fixed length, a symbolic one with its name, or one without a name."""


def show_shape(shape: Sequence[Dim]) -> str:
    """A shape as the protocol writes it: -1 for every length that may vary.

    >>> show_shape(("batch", 64))
    '[-1, 64]'
    """
    return "[" + ", ".join(str(d) if isinstance(d, int) else "-1" for d in shape) + "]"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model declares of one input or output."""

    name: str
    datatype: Datatype
    shape: tuple[Dim, ...]
    # The axes of fixed length, worked out once: `fits` is called for every request.
    _fixed: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fixed = tuple((axis, dim) for axis, dim in enumerate(self.shape) if isinstance(dim, int))
        object.__setattr__(self, "_fixed", fixed)

    @property
    def wire_shape(self) -> list[int]:
        """The shape with -1 for every length that may vary."""
        return [d if isinstance(d, int) else -1 for d in self.shape]

    @property
    def batchable(self) -> bool:
        """Whether the first axis may have any length."""
        return bool(self.shape) and not isinstance(self.shape[0], int)

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor has this datatype and a shape that this one allows."""
        shape = tensor.array.shape
        if tensor.datatype is not self.datatype or len(shape) != len(self.shape):
            return False
        for axis, length in self._fixed:
            if shape[axis] != length:
                return False
        return True

    def __str__(self) -> str:
        return f"{self.datatype} {show_shape(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model, in the order of its file."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batchable: bool = field(init=False)
    """Whether every input declares a first axis of any length."""

    def __post_init__(self) -> None:
        batchable = bool(self.inputs) and all(spec.batchable for spec in self.inputs)
        object.__setattr__(self, "batchable", batchable)

    def check(self, tensors: Sequence[Tensor]) -> Arrays:
        """The arrays of a request in the order of the signature.

        Raises:
            SignatureMismatch: an input is missing, unknown, twice there, or does not fit.
        """
        if len(tensors) != len(self.inputs):
            self._refuse_names(tensors)
        arrays = []
        for spec, tensor in zip(self.inputs, tensors, strict=True):
            if tensor.name != spec.name:
                return self.check(self._sorted(tensors))
            if not spec.fits(tensor):
                came = f"{tensor.datatype} {show_shape(tensor.array.shape)}"
                raise SignatureMismatch(f'input "{spec.name}" takes {spec}, got {came}')
            arrays.append(tensor.array)
        return tuple(arrays)

    def _sorted(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors in the order of the signature, each there once."""
        by_name = {tensor.name: tensor for tensor in tensors}
        if by_name.keys() != {spec.name for spec in self.inputs}:
            self._refuse_names(tensors)
        return [by_name[spec.name] for spec in self.inputs]

    def rows(self, arrays: Arrays) -> int:
        """The length of the first axis, which all inputs must share.

        Raises:
            SignatureMismatch: they do not, or there is no row.
        """
        rows: int = arrays[0].shape[0]
        for spec, array in zip(self.inputs[1:], arrays[1:], strict=True):
            if array.shape[0] != rows:
                first = f'input "{self.inputs[0].name}" has {rows} rows'
                raise SignatureMismatch(f'{first}, input "{spec.name}" has {array.shape[0]}')
        if rows == 0:
            raise SignatureMismatch(f'input "{self.inputs[0].name}" has 0 rows, expected more')
        return rows

    def _refuse_names(self, tensors: Sequence[Tensor]) -> NoReturn:
        names = [tensor.name for tensor in tensors]
        wanted = [spec.name for spec in self.inputs]
        takes = ", ".join(f'"{spec.name}" {spec}' for spec in self.inputs)
        for name in names:
            if names.count(name) > 1:
                raise SignatureMismatch(f'input "{name}" is given {names.count(name)} times')
            if name not in wanted:
                raise SignatureMismatch(f'unknown input "{name}"; the model takes {takes}')
        missing = next(name for name in wanted if name not in names)
        raise SignatureMismatch(f'input "{missing}" is missing; the model takes {takes}')

    def places(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """The places of the named outputs; None for all of them in the model's order.

        Raises:
            SignatureMismatch: the model has no such output.
        """
        known = [spec.name for spec in self.outputs]
        if not names or names == known:
            return None
        for name in names:
            if name not in known:
                has = ", ".join(f'"{other}"' for other in known)
                raise SignatureMismatch(f'unknown output "{name}"; the model has {has}')
        return tuple(known.index(name) for name in names)
