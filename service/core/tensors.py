"""Tensors, their datatypes, and the signature of a model.

In memory a tensor is a numpy array: BYTES is an object array of ``str`` (ONNX strings are UTF-8),
and BF16, which numpy lacks, is the ``uint16`` array of its bit patterns; so a tensor carries its
datatype beside its array.
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
    """Arrays of a request that also replaces defaults of the graph, ``overrides`` by name."""

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
    """A tensor from JSON, where a number is a number: its declared datatype is converted to the
    one that the model takes. Binary tensors are taken as they are or not at all."""

    __slots__ = ()


Category = str | int
Categories = tuple[tuple[Category, ...], ...]
"""Some values of each column of a tensor, the last axis; one tuple for all columns, or () for a
column that may have any."""
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
    """What a model declares of one input or output.

    ``ranked`` is False where the file gives no shape at all; ``shape`` is then empty, as that of a
    scalar is, and any shape fits. ``categories`` are values that a classical model's encoders take;
    they are for examples, not checked.
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
        """The shape with -1 for every length that may vary; [-1] if the rank is unknown, which the
        protocol cannot express."""
        if not self.ranked:
            return [-1]
        return [d if isinstance(d, int) else -1 for d in self.shape]

    @property
    def batchable(self) -> bool:
        """Whether the first axis may have any length."""
        return bool(self.shape) and not isinstance(self.shape[0], int)

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor has this datatype and a shape that this one allows."""
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
        """Replace values of columns with categories by one of these; ``place`` chooses which."""
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

    ``optional`` are inputs that the graph has a default for. ``shown`` and ``loose`` are what the
    probe found where the file does not say whether the inputs share a batch axis. ``shown``:
    whether they do; None before the probe. ``loose``: they may, if their numbers of rows are equal,
    but one row also broadcasts against several. ``texts`` is what requests in text bring and get,
    where the model takes such; of that, ``of_texts`` is True.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    optional: tuple[TensorSpec, ...] = ()
    shown: bool | None = None
    loose: bool = False
    texts: "Signature | None" = field(default=None, compare=False)
    of_texts: bool = False
    declared: bool | None = field(init=False, repr=False)
    """Whether the first axes of all inputs are one batch; None where the file does not say: the
    axes have different names, or several have none."""
    batchable: bool = field(init=False)
    """Whether a request has rows: the first axes of all inputs are one batch."""
    may_stand_alone: bool = field(init=False, repr=False)
    """Whether ``stands_alone`` can be true for a request with rows."""
    # The inputs to check for an axis of length 0, computed once.
    _elastic: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        declared = _declared(self.inputs)
        batchable = bool(self.shown) if declared is None else declared
        elastic = _elastic(self.inputs)
        object.__setattr__(self, "declared", declared)
        object.__setattr__(self, "batchable", batchable)
        object.__setattr__(self, "may_stand_alone", bool(self.optional or elastic))
        object.__setattr__(self, "_elastic", elastic)

    def settled(self, shown: bool, loose: bool = False) -> "Signature":
        """A copy with what the probe found about the batch axis."""
        return replace(self, shown=shown, loose=loose)

    def taking(self, tensors: Sequence[Tensor]) -> "Signature":
        """What a request with these tensors is checked against: ``texts`` if one of them is an
        input of it, else this signature."""
        texts = self.texts
        if texts is None:
            return self
        names = {spec.name for spec in (*texts.inputs, *texts.optional)}
        return texts if any([tensor.name in names for tensor in tensors]) else self

    @property
    def has_rows(self) -> bool:
        """Whether requests may consist of rows, which can share a run or be split."""
        return self.batchable or self.loose

    @property
    def takes(self) -> str:
        """The inputs, for people."""
        return ", ".join(f'"{spec.name}" {spec}' for spec in self.inputs) or "no input"

    def conform(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Numbers from JSON as the datatypes that are taken: what ``check`` would do, ahead of it.

        Raises:
            SignatureMismatch: a number does not fit.
        """
        known = {spec.name: spec for spec in (*self.inputs, *self.optional)}
        return tuple([_conformed(known.get(tensor.name), tensor) for tensor in tensors])

    def check(self, tensors: Sequence[Tensor]) -> Arrays:
        """The arrays of a request in the order of the signature.

        Raises:
            SignatureMismatch: an input is missing, unknown, duplicated, or does not fit.
        """
        if len(tensors) != len(self.inputs):
            return self._overriding(tensors)
        arrays = []
        for place, spec in enumerate(self.inputs):  # a strict zip takes three times as long
            tensor = tensors[place]
            if tensor.name != spec.name:
                return self.check(self._sorted(tensors))
            arrays.append(tensor.array if spec.fits(tensor) else _converted(spec, tensor))
        return tuple(arrays)

    def _overriding(self, tensors: Sequence[Tensor]) -> Arrays:
        """The arrays of a request that has more tensors than the model has inputs."""
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
        """Whether a request must not share a run: it overrides a default, or an input is empty."""
        for place in self._elastic:
            if not arrays[place].size:
                return True
        return type(arrays) is Overriding

    def _sorted(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors in the order of the signature, each there once."""
        by_name = {tensor.name: tensor for tensor in tensors}
        if by_name.keys() != {spec.name for spec in self.inputs}:
            self._refuse_names(tensors)
        return [by_name[spec.name] for spec in self.inputs]

    def rows(self, arrays: Arrays) -> int:
        """The length of the first axis, which all inputs must share.

        Raises:
            SignatureMismatch: they do not.
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
        """Length of the first axis of all inputs; 0 if their lengths differ."""
        rows: int = arrays[0].shape[0]
        return rows if all([array.shape[0] == rows for array in arrays]) else 0

    def _refuse_names(self, tensors: Sequence[Tensor]) -> NoReturn:
        names = [tensor.name for tensor in tensors]
        optional = [spec.name for spec in self.optional]
        problem = misnamed("input", names, [spec.name for spec in self.inputs], optional)
        raise SignatureMismatch(f"{problem}; the model takes {self.takes}")

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


def _declared(inputs: Sequence[TensorSpec]) -> bool | None:
    if not inputs or not all(spec.batchable for spec in inputs):
        return False
    firsts = {spec.shape[0] for spec in inputs}
    one = len(inputs) == 1 or (len(firsts) == 1 and None not in firsts)
    return True if one else None


def _elastic(inputs: Sequence[TensorSpec]) -> tuple[int, ...]:
    """The places of inputs with a variable axis after the first. Of inputs with the same symbols
    only the first, since their lengths are equal."""
    seen: set[Dim] = set()
    places = []
    for place, spec in enumerate(inputs):
        free = {dim for dim in spec.shape[1:] if not isinstance(dim, int)}
        if free - seen:
            places.append(place)
        seen |= free - {None}
    return tuple(places)


def _convertible(spec: TensorSpec, tensor: Tensor) -> bool:
    """Whether its numbers came in JSON, and its shape fits."""
    given, taken = tensor.datatype, spec.datatype
    numbers = isinstance(tensor, Written) and is_number(given, taken)
    return numbers and spec.fits(tensor._replace(datatype=taken))


def _converted(spec: TensorSpec, tensor: Tensor) -> Array:
    """The array of a tensor that does not fit as it is, if its numbers can be converted."""
    if _convertible(spec, tensor):
        return converted(spec.name, tensor.datatype, spec.datatype, tensor.array)
    came = f"{tensor.datatype} {show_shape(tensor.array.shape)}"
    raise SignatureMismatch(f'input "{spec.name}" takes {spec}, got {came}')


def _conformed(spec: TensorSpec | None, tensor: Tensor) -> Tensor:
    if spec is None or spec.datatype is tensor.datatype or not _convertible(spec, tensor):
        return tensor
    return Tensor(tensor.name, spec.datatype, _converted(spec, tensor))
