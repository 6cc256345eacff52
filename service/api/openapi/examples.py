"""Examples for the documentation: for each serving model, requests that it may answer.

The first example is ``example.json`` in the model's folder, then a row of its golden set, then
made-up values in the shape of its inputs, then zeros. ``example_answers`` finds the first that
works.
"""

import csv
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from itertools import cycle, islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from service.api.openapi.inference import InferenceRequest, RequestInput
from service.api.protocol.json_tensors import to_json
from service.api.protocol.non_finite import loads
from service.core.errors import FileUnreadable, LoadFailed, MalformedRequest, NotReady
from service.core.lifecycle import State
from service.core.tensors import Array, Signature, Tensor, TensorSpec
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion
from service.engine.storage.golden import read_golden
from service.files import read_small

EXAMPLE_FILE = "example.json"
MAX_VALUES = 1024
"""The maximum number of values of a generated example: nobody reads a longer one."""
MOST_BYTES = 2**18
"""The maximum number of bytes of ``example.json``."""
MAX_CELLS = 64
"""The maximum number of values of an example that is shown as CSV."""
MOST_GOLDEN = 2**24
"""The maximum number of bytes of a golden set that is read to get one row."""
ZEROS: dict[str, Any] = {"boolean": False, "string": ""}
LIKELY: dict[str, Any] = {
    "boolean": [True, False],
    "string": ["text"],
    "integer": [1, 0, 2],
    "number": [0.5, 1.2, -0.3, 0.8, 2.1, -1.4],
}
"""Values as in tables of scaled features, by kind of datatype. They are repeated in this order."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """A request to a version of a model: the bodies for both protocols. ``predict`` is None if the
    inputs do not have the same number of rows, as V1 needs it. The answers are None if they were
    not requested, or if there is no answer that is short enough."""

    model: str
    version: str
    infer: Body
    predict: Body | None
    infer_answer: Body | None = None
    predict_answer: Body | None = None

    @property
    def csv(self) -> str | None:
        """``predict`` as CSV, if it is short and each column has one value per row. The columns of
        a single input are numbered."""
        if self.predict is None or not self.infer["inputs"]:
            return None
        columns = {name: np.array(each, object) for name, each in _columns(self.infer).items()}
        if len(columns) == 1:
            ((name, array),) = columns.items()
            flat = array.reshape(len(array), -1).T if array.ndim == 2 else array[np.newaxis]
            names = [name] if len(flat) == 1 else [f"{name}{i}" for i in range(len(flat))]
            columns = dict(zip(names, flat, strict=True))
        if not all([array.size == len(array) for array in columns.values()]):
            return None
        lists = [array.ravel().tolist() for array in columns.values()]
        if len(lists) * len(lists[0]) > MAX_CELLS:
            return None
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *zip(*lists, strict=True)])
        return text.getvalue()


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of a model, the best first. ``digest`` is the SHA-256 of the model's file."""

    digest: str
    choice: tuple[Example, ...]


def examples(repository: ModelRepository) -> Iterator[Examples]:
    """Yield the examples of each serving model, in the order of the names. Reads files."""
    for model in repository:
        version = model.serving
        if version is None or version.state is not State.READY:
            continue
        with suppress(NotReady):  # unloaded in the meantime: this runs in a thread
            loaded, _ = version.serving()
            if version.language:
                continue
            bodies = _bodies(model.folder.path / EXAMPLE_FILE, version, loaded.signature)
            number = str(version.number)
            choice = [Example(model.name, number, b, _as_instances(b)) for b in bodies if b]
            if choice:
                yield Examples(loaded.sha256, tuple(choice))


def _bodies(path: Path, version: ModelVersion, signature: Signature) -> Iterator[Body | None]:
    yield _from_file(path, signature)
    yield _from_golden(version.files.golden, signature)
    yield _filled(signature, _likely)
    yield _filled(signature, lambda spec, shape: [ZEROS.get(spec.datatype.kind, 0)] * prod(shape))


def _from_file(path: Path, signature: Signature) -> Body | None:
    """Return the request in the file, if it has all values of all inputs."""
    try:
        text = read_small(path, MOST_BYTES) or b""
        body: Body = loads(text.removeprefix(BOM_UTF8))
        asked = InferenceRequest.model_validate(body, strict=True)
    except (FileUnreadable, ValueError, MalformedRequest):
        return None
    names = {tensor.name for tensor in asked.inputs}
    fits = {spec.name for spec in signature.inputs} <= names
    return body if fits and all(map(_is_whole, asked.inputs)) else None


def _is_whole(tensor: RequestInput) -> bool:
    """Return True if all elements that the shape needs are present and are scalars."""
    if tensor.data is None or min((0, *tensor.shape)) < 0:
        return False
    values = np.array(tensor.data, object).ravel().tolist()
    scalars = all(isinstance(each, str | int | float | None) for each in values)
    return scalars and prod(tensor.shape) == len(values)


def _from_golden(path: Path, signature: Signature) -> Body | None:
    """Return the first row of the golden set; the whole set if the model has no rows."""
    try:
        if path.stat().st_size > MOST_GOLDEN:
            return None
        found = read_golden(path, signature, MOST_GOLDEN)
    except (OSError, LoadFailed):
        return None
    if found is None:
        return None
    rows = signature.has_rows
    arrays = [array[:1] if rows else array for array in found.inputs]
    if sum(array.size for array in arrays) > MAX_VALUES:
        return None
    return {"inputs": list(map(_shown, signature.inputs, arrays))}


def _shown(spec: TensorSpec, array: Array) -> Body:
    """Return an array in readable form: numbers with six digits."""
    values = np.asarray(to_json(Tensor(spec.name, spec.datatype, array))).tolist()
    if spec.datatype.kind == "number":
        values = [float(f"{value:.6g}") for value in values]
    return _tensor(spec, array.shape, values)


def _likely(spec: TensorSpec, shape: Sequence[int]) -> list[Any]:
    values = np.array(list(islice(cycle(LIKELY[spec.datatype.kind]), prod(shape))), object)
    values = values.reshape(shape)
    spec.categorise(values, 0)
    return values.ravel().tolist()


def _filled(
    signature: Signature, fill: Callable[[TensorSpec, Sequence[int]], list[Any]]
) -> Body | None:
    if not all(spec.ranked for spec in signature.inputs):
        return None  # the shape of an input is unknown
    shapes = [[max(1, length) for length in spec.wire_shape] for spec in signature.inputs]
    if sum(map(prod, shapes)) > MAX_VALUES:
        return None
    tensors = zip(signature.inputs, shapes, strict=True)
    return {"inputs": [_tensor(s, shape, fill(s, shape)) for s, shape in tensors]}


def _tensor(spec: TensorSpec, shape: Sequence[int], data: list[Any]) -> Body:
    return {"name": spec.name, "datatype": spec.datatype.name, "shape": list(shape), "data": data}


def _as_instances(body: Body) -> Body | None:
    """Return the same rows as a V1 request: values, or objects if there are several inputs."""
    firsts = {tuple(each["shape"][:1]) for each in body["inputs"]}
    if len(firsts) > 1 or () in firsts:
        return None
    columns = _columns(body)
    if len(columns) == 1:
        return {"instances": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"instances": [dict(zip(columns, row, strict=True)) for row in rows]}


def _columns(body: dict[str, Any]) -> dict[str, list[Any]]:
    return {
        each["name"]: np.array(each["data"], object).reshape(each["shape"]).tolist()
        for each in body["inputs"]
    }
