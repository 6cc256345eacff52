"""Examples for the documentation: for each model that serves, a request that it answers.

It is the ``example.json`` in the model's folder, and zeros in the shape of its inputs where there
is none.
"""

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from service.api.inference_docs import InferenceRequest, RequestInput
from service.api.non_finite import loads
from service.core.errors import FileUnreadable, MalformedRequest, NotReady
from service.core.lifecycle import State
from service.core.tensors import TensorSpec
from service.engine.model import ModelVersion
from service.engine.repository import ModelRepository
from service.files import read_small

EXAMPLE_FILE = "example.json"
MAX_VALUES = 1024
"""More numbers than these are no example that anybody would look at."""
MOST_BYTES = 2**18
"""Of an example's file."""
MAX_CELLS = 64
"""Values of an example that is shown as CSV."""
ZEROS: dict[str, Any] = {"boolean": False, "string": ""}


@dataclass(frozen=True, slots=True)
class Example:
    """What to send to a version of a model: the bodies for either protocol; ``predict`` is None
    where the inputs have no rows in common, which V1 is made of."""

    model: str
    version: str
    infer: dict[str, Any]
    predict: dict[str, Any] | None

    @property
    def csv(self) -> str | None:
        """``predict`` as CSV, if it is short and each column has one value a row; those of one
        input are numbered."""
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


def examples(repository: ModelRepository) -> Iterator[Example]:
    """One for each model that serves, in the order of their names."""
    for model in repository:
        version = model.serving
        if version is None or version.state is not State.READY:
            continue
        body = None
        with suppress(NotReady):  # it was unloaded a moment ago: this runs in a thread
            body = _from_file(model.folder.path / EXAMPLE_FILE, version) or _zeros(version)
        if body is not None:
            yield Example(model.name, str(version.number), body, _as_instances(body))


def _from_file(path: Path, version: ModelVersion) -> dict[str, Any] | None:
    """The file's request, if there is one for these inputs whose values are all in it."""
    try:
        text = read_small(path, MOST_BYTES) or b""
        body = loads(text.removeprefix(BOM_UTF8))
        asked = InferenceRequest.model_validate(body, strict=True)
    except (FileUnreadable, ValueError, MalformedRequest):
        return None
    names, signature = {tensor.name for tensor in asked.inputs}, version.signature
    fits = {spec.name for spec in signature.inputs} <= names
    return body if fits and all(map(_is_whole, asked.inputs)) else None


def _is_whole(tensor: RequestInput) -> bool:
    """Whether the values are there, each a scalar, as many as the shape says."""
    if tensor.data is None or min((0, *tensor.shape)) < 0:
        return False
    values = np.array(tensor.data, object).ravel().tolist()
    scalars = all(isinstance(each, str | int | float | None) for each in values)
    return scalars and prod(tensor.shape) == len(values)


def _zeros(version: ModelVersion) -> dict[str, Any] | None:
    loaded, _ = version.serving()
    if not all(spec.ranked for spec in loaded.signature.inputs):
        return None  # nobody knows the shape that it takes
    shapes = [[max(1, length) for length in s.wire_shape] for s in loaded.signature.inputs]
    if sum(map(prod, shapes)) > MAX_VALUES:
        return None
    tensors = zip(loaded.signature.inputs, shapes, strict=True)
    return {"inputs": [_tensor(spec, shape) for spec, shape in tensors]}


def _tensor(spec: TensorSpec, shape: list[int]) -> dict[str, Any]:
    data = [ZEROS.get(spec.datatype.kind, 0)] * prod(shape)
    return {"name": spec.name, "datatype": spec.datatype.name, "shape": shape, "data": data}


def _as_instances(body: dict[str, Any]) -> dict[str, Any] | None:
    """The same rows as a V1 request: values, or objects where there are several inputs."""
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
