"""Tensors, their datatypes, and the signature of a model.

In memory a tensor is a numpy array. BYTES is an object array of ``str`` (ONNX strings are UTF-8).
BF16, which numpy lacks, is the ``uint16`` array of its bit patterns. So a tensor has its datatype
beside its array.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, NoReturn

from service.core.conversion import converted, is_number
from service.core.datatypes import DATATYPES as DATATYPES
from service.core.datatypes import Array as Array
from service.core.datatypes import Datatype as Datatype
from service.core.errors import SignatureMismatch
from service.core.misnamed import misnamed

Arrays = tuple[Array, ...]


class Overriding(tuple[Array, ...]):
    """Arrays of a request that also overrides defaults of the graph: ``overrides``, by name."""

    overrides: Mapping[str, Array]

    def __new__(cls, arrays: Arrays, overrides: Mapping[str, Array]) -> "Overriding":
        self = super().__new__(cls, arrays)
        self.overrides = overrides
        return self


class Tensor(NamedTuple):
    """A named array with its datatype. (A named tuple: several are made for every request.)"""

    name: str
    datatype: Datatype
    array: Array


class Written(Tensor):
    """A tensor from JSON. JSON has one type of number, so the values are converted to the datatype
    that the model expects. Binary tensors are never converted."""

    __slots__ = ()


Category = str | int
Categories = tuple[tuple[Category, ...], ...]
"""Some values of each column (last axis) of a tensor: one tuple for each column, or a single tuple
for all columns. () stands for a column that accepts any value."""
Dim = int | str | None
"""An axis of a signature: a fixed length, the name of a variable length, or None for a variable
length without a name."""


def show_shape(shape: Sequence[Dim]) -> str:
    """Format a shape as the protocol does: -1 for every length that may vary.

    >>> show_shape(("batch", 64))
    '[-1, 64]'
    """
    return "[" + ", ".join(str(d) if isinstance(d, int) else "-1" for d in shape) + "]"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A model's declaration of one input or output.

    ``ranked`` is False if the file declares no shape; ``shape`` is then empty, as for a scalar, and
    any shape fits. ``categories`` are values that a classical model's encoders accept. They are
    used for examples, and not checked.
    """

    name: str
    datatype: Datatype
    shape: tuple[Dim, ...]
    ranked: bool = True
    categories: Categories = field(default=(), compare=False)
    # The axes of fixed length, computed once: `fits` is called for every request.
    _fixed: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fixed = tuple((axis, dim) for axis, dim in enumerate(self.shape) if isinstance(dim, int))
        object.__setattr__(self, "_fixed", fixed)

    @property
    def wire_shape(self) -> list[int]:
        """The shape with -1 for every length that may vary. [-1] if the rank is unknown, because
        the protocol cannot express that."""
        if not self.ranked:
            return [-1]
        return [d if isinstance(d, int) else -1 for d in self.shape]

    @property
    def batchable(self) -> bool:
        """True if the first axis may have any length."""
        return bool(self.shape) and not isinstance(self.shape[0], int)

    def fits(self, tensor: Tensor) -> bool:
        """Return whether a tensor has this datatype and a shape that this specification allows."""
        shape = tensor.array.shape
        if tensor.datatype is not self.datatype:
            return False
        if len(shape) != len(self.shape):
            return not self.ranked
        for axis, length in self._fixed:
            if shape[axis] != length:
                return False
        return True

    def categorise(self, array: Array, place: int) -> None:
        """Replace the values of each column that has categories by one of its categories. ``place``
        chooses which one."""
        shared = len(self.categories) == 1
        for column, values in enumerate(self.categories):
            if values and shared:
                array[...] = values[place % len(values)]
            elif values and array.ndim and column < array.shape[-1]:
                array[..., column] = values[place % len(values)]

    def __str__(self) -> str:
        return f"{self.datatype} {show_shape(self.shape) if self.ranked else 'of any shape'}"


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model, in the order of its file.

    ``optional`` are inputs that have a default in the graph. ``shown`` and ``loose`` are results of
    the probe, if the file does not say whether the inputs share a batch axis. ``shown``: the inputs
    share one; None before the probe. ``loose``: the inputs share one if their numbers of rows are
    equal, but one row also broadcasts against several. ``texts`` is the signature of requests in
    text, if the model accepts them; in that signature ``of_texts`` is True.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    optional: tuple[TensorSpec, ...] = ()
    shown: bool | None = None
    loose: bool = False
    texts: "Signature | None" = field(default=None, compare=False)
    of_texts: bool = False
    declared: bool | None = field(init=False, repr=False)
    """True if the first axes of all inputs are one batch; None if the file does not say, because
    the axes have different names, or several inputs have an axis without a name."""
    batchable: bool = field(init=False)
    """True if requests have rows: the first axes of all inputs are one batch."""
    may_stand_alone: bool = field(init=False, repr=False)
    """True if ``stands_alone`` can be true for a request with rows."""
    # The inputs to check for an axis of length 0, and the names of the outputs, computed once.
    _elastic: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _output_names: list[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        declared = _declared(self.inputs)
        batchable = bool(self.shown) if declared is None else declared
        elastic = _elastic(self.inputs)
        object.__setattr__(self, "declared", declared)
        object.__setattr__(self, "batchable", batchable)
        object.__setattr__(self, "may_stand_alone", bool(self.optional or elastic))
        object.__setattr__(self, "_elastic", elastic)
        object.__setattr__(self, "_output_names", [spec.name for spec in self.outputs])

    def settled(self, shown: bool, loose: bool = False) -> "Signature":
        """Return a copy with the result of the probe for the batch axis."""
        return replace(self, shown=shown, loose=loose)

    def taking(self, tensors: Sequence[Tensor]) -> "Signature":
        """Return the signature for a request with these tensors: ``texts`` if one of the tensors is
        an input of it, else this signature."""
        texts = self.texts
        if texts is None:
            return self
        names = {spec.name for spec in (*texts.inputs, *texts.optional)}
        return texts if any([tensor.name in names for tensor in tensors]) else self

    @property
    def has_rows(self) -> bool:
        """True if requests may consist of rows, which can share a run or be split."""
        return self.batchable or self.loose

    @property
    def row_shapes(self) -> tuple[tuple[int, ...], ...] | None:
        """The shape of each input without its first axis, if the file fixes all of them."""
        shapes = []
        for spec in self.inputs:
            row = tuple([dim for dim in spec.shape[1:] if isinstance(dim, int)])
            if not spec.ranked or len(row) < len(spec.shape) - 1:
                return None
            shapes.append(row)
        return tuple(shapes)

    @property
    def takes(self) -> str:
        """The inputs, for people."""
        return ", ".join(f'"{spec.name}" {spec}' for spec in self.inputs) or "no input"

    def conform(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Convert numbers from JSON to the datatypes of the signature, as ``check`` would do.

        Raises:
            SignatureMismatch: a number does not fit.
        """
        known = {spec.name: spec for spec in (*self.inputs, *self.optional)}
        return tuple([_conformed(known.get(tensor.name), tensor) for tensor in tensors])

    def check(self, tensors: Sequence[Tensor]) -> Arrays:
        """Check a request, and return its arrays in the order of the signature.

        Raises:
            SignatureMismatch: an input is missing, unknown, duplicated, or does not fit.
        """
        if len(tensors) != len(self.inputs):
            return self._overriding(tensors)
        if len(tensors) == 1 and tensors[0].name == self.inputs[0].name:  # faster than the loop
            tensor, spec = tensors[0], self.inputs[0]
            return (tensor.array if spec.fits(tensor) else _converted(spec, tensor),)
        arrays = []
        for place, spec in enumerate(self.inputs):  # a strict zip takes three times as long
            tensor = tensors[place]
            if tensor.name != spec.name:
                return self.check(self._sorted(tensors))
            arrays.append(tensor.array if spec.fits(tensor) else _converted(spec, tensor))
        return tuple(arrays)

    def _overriding(self, tensors: Sequence[Tensor]) -> Arrays:
        """Return the arrays of a request whose number of tensors differs from the number of inputs.
        It may have tensors for optional inputs."""
        known = {spec.name: spec for spec in self.optional}
        given = {tensor.name: tensor for tensor in tensors if tensor.name in known}
        others = [tensor for tensor in tensors if tensor.name not in known]
        if len(others) != len(self.inputs) or len(given) + len(others) != len(tensors):
            self._refuse_names(tensors)
        overrides = {
            name: tensor.array if known[name].fits(tensor) else _converted(known[name], tensor)
            for name, tensor in given.items()
        }
        return Overriding(self.check(others), overrides)

    def stands_alone(self, arrays: Arrays) -> bool:
        """Return whether a request must not share a run: it overrides a default, or an input is
        empty."""
        for place in self._elastic:
            if not arrays[place].size:
                return True
        return type(arrays) is Overriding

    def _sorted(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors in the order of the signature. Each input must occur exactly once."""
        by_name = {tensor.name: tensor for tensor in tensors}
        if by_name.keys() != {spec.name for spec in self.inputs}:
            self._refuse_names(tensors)
        return [by_name[spec.name] for spec in self.inputs]

    def rows(self, arrays: Arrays) -> int:
        """Return the length of the first axis, which must be the same for all inputs.

        Raises:
            SignatureMismatch: the lengths differ.
        """
        rows: int = arrays[0].shape[0]
        if len(arrays) == 1:
            return rows
        for spec, array in zip(self.inputs[1:], arrays[1:], strict=True):
            if array.shape[0] != rows:
                first = f'input "{self.inputs[0].name}" has {rows} rows'
                raise SignatureMismatch(f'{first}, input "{spec.name}" has {array.shape[0]}')
        return rows

    def common_rows(self, arrays: Arrays) -> int:
        """Return the length of the first axis of all inputs; 0 if the lengths differ."""
        rows: int = arrays[0].shape[0]
        return rows if all([array.shape[0] == rows for array in arrays]) else 0

    def _refuse_names(self, tensors: Sequence[Tensor]) -> NoReturn:
        names = [tensor.name for tensor in tensors]
        optional = [spec.name for spec in self.optional]
        problem = misnamed("input", names, [spec.name for spec in self.inputs], optional)
        raise SignatureMismatch(f"{problem}; the model takes {self.takes}")

    def places(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """Return the places of the named outputs; None for all outputs in the model's order.

        Raises:
            SignatureMismatch: the model has no such output.
        """
        known = self._output_names
        if not names or names == known:
            return None
        for name in names:
            if name not in known:
                has = ", ".join(f'"{other}"' for other in known)
                raise SignatureMismatch(f'unknown output "{name}"; the model has {has}')
        return tuple(known.index(name) for name in names)


def _declared(inputs: Sequence[TensorSpec]) -> bool | None:
    if not inputs or not all(spec.batchable for spec in inputs):
        return False
    firsts = {spec.shape[0] for spec in inputs}
    one = len(inputs) == 1 or (len(firsts) == 1 and None not in firsts)
    return True if one else None


def _elastic(inputs: Sequence[TensorSpec]) -> tuple[int, ...]:
    """Return the places of inputs with a variable axis after the first one. Of inputs with the same
    symbols only the first is included, because their lengths are equal."""
    seen: set[Dim] = set()
    places = []
    for place, spec in enumerate(inputs):
        free = {dim for dim in spec.shape[1:] if not isinstance(dim, int)}
        if free - seen:
            places.append(place)
        seen |= free - {None}
    return tuple(places)


def _convertible(spec: TensorSpec, tensor: Tensor) -> bool:
    """Return whether the numbers of a tensor came in JSON, and its shape fits."""
    given, taken = tensor.datatype, spec.datatype
    numbers = isinstance(tensor, Written) and is_number(given, taken)
    return numbers and spec.fits(tensor._replace(datatype=taken))


def _converted(spec: TensorSpec, tensor: Tensor) -> Array:
    """Return the converted array of a tensor that does not fit, if its numbers can be converted.

    Raises:
        SignatureMismatch: they cannot.
    """
    if _convertible(spec, tensor):
        return converted(spec.name, tensor.datatype, spec.datatype, tensor.array)
    came = f"{tensor.datatype} {show_shape(tensor.array.shape)}"
    raise SignatureMismatch(f'input "{spec.name}" takes {spec}, got {came}')


def _conformed(spec: TensorSpec | None, tensor: Tensor) -> Tensor:
    if spec is None or spec.datatype is tensor.datatype or not _convertible(spec, tensor):
        return tensor
    return Tensor(tensor.name, spec.datatype, _converted(spec, tensor))
