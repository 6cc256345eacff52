"""The source of the requests of a run: a given file, the model's folder on this machine, the
server's example, or random values that fit the server's metadata.
"""

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from service.api.protocol import codec
from service.api.protocol.json_table import FORMS
from service.api.protocol.non_finite import loads
from service.bench.bodies import Request
from service.client import Client, Refused
from service.core.errors import ConfigError, FileUnreadable, MalformedRequest
from service.core.tensors import DATATYPES, Array, Tensor, show_shape
from service.engine.storage.npz import read_npz
from service.engine.storage.root import Root
from service.files import read_small

EXAMPLE_FILE, INPUTS = "example.json", "inputs/"
NOT_INPUTS = ("outputs/", "labels")
INFER_PATH = "/v2/models/{name}/infer"
MOST_BYTES = 2**30
"""The largest size of a file of rows."""
MOST_REQUESTS = 256
"""The maximum number of distinct requests, which are sent in rotation."""
MOST_MADE_UP = 2**24
MADE_UP = "random values that fit the server's metadata"
FREE_LENGTH = 16
"""The generated length of axes without a fixed length, other than the first."""


class Rows(NamedTuple):
    """Requests to send in rotation, and their source. ``v1`` is a body of the V1 protocol, which is
    sent unchanged instead of ``requests``."""

    source: str
    requests: tuple[Request, ...]
    v1: bytes = b""


Metadata = Mapping[str, Any]


def from_file(path: Path, metadata: Metadata, rows: int) -> Rows:
    """Read a JSON request of either protocol, or an .npz file with an array for each input.

    Raises:
        ConfigError: the file cannot be read or does not fit the model; names the tensor.
    """
    if path.suffix == ".npz":
        return _from_npz(path, metadata, rows)
    try:
        text = read_small(path, MOST_BYTES)
    except FileUnreadable as error:
        raise ConfigError(f"--data {path}: {error}") from None
    if text is None:
        raise ConfigError(f"--data {path}: there is no such file")
    try:
        message = loads(text)
    except ValueError:
        raise ConfigError(f"--data {path}: expected JSON, or an .npz file") from None
    if isinstance(message, dict) and _is_v1(message):
        return Rows(str(path), (), text)
    try:
        found = _decoded(text)
    except MalformedRequest as error:
        raise ConfigError(f"--data {path}: {error}") from None
    return Rows(str(path), (_with_rows(found, rows),))


def find(client: Client, models: Path, metadata: Metadata, rows: int) -> Rows:
    """Find rows: the model's ``example.json`` or ``golden.npz`` below ``models`` if they fit the
    server's model, otherwise the server's example, otherwise generated values.

    Raises:
        ConfigError: the metadata does not state the shapes of inputs.
        Unreachable
    """
    return (
        _from_folder(models, metadata, rows)
        or _from_server(client, metadata, rows)
        or _made_up(metadata, rows)
    )


def _from_folder(models: Path, metadata: Metadata, rows: int) -> Rows | None:
    folder = Root.of(models).read_one(metadata["name"]) if models.is_dir() else None
    if folder is None:
        return None
    example = folder.path / EXAMPLE_FILE
    try:
        found = _decoded(read_small(example, MOST_BYTES) or b"")
        if _suits(found, metadata):
            return Rows(str(example), (_with_rows(found, rows),))
    except (FileUnreadable, MalformedRequest):
        pass  # try the next source
    for number in reversed(folder.numbers):
        golden = folder.of_version(number).golden
        try:
            return _from_npz(golden, metadata, rows)
        except ConfigError:
            continue
    return None


def _from_server(client: Client, metadata: Metadata, rows: int) -> Rows | None:
    """Return the example of the server's documentation."""
    try:
        operation = client.get("/openapi.json")["paths"][INFER_PATH]["post"]
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        text = json.dumps(examples[metadata["name"]]["value"], separators=(",", ":")).encode()
        found = _decoded(text)
    except (Refused, KeyError, TypeError, MalformedRequest):
        return None
    return Rows("the server's example", (_with_rows(found, rows),))


def _made_up(metadata: Metadata, rows: int) -> Rows:
    parameters = metadata.get("parameters", {})
    if "any_shape" in parameters:
        raise ConfigError(
            f'model "{metadata["name"]}" accepts any shape for {parameters["any_shape"]}: '
            "give rows with --data"
        )
    random = np.random.default_rng(0)
    tensors = []
    for spec in metadata["inputs"]:
        first, *others = spec["shape"] or [None]
        shape = [] if first is None else [rows if first == -1 else first]
        shape += [FREE_LENGTH if length == -1 else length for length in others]
        if prod(shape) > MOST_MADE_UP:
            raise ConfigError(f'input "{spec["name"]}" is too large to generate: use --data')
        tensors.append(_random(spec, shape, random))
    return Rows(MADE_UP, (Request(tuple(tensors)),))


def _random(spec: Mapping[str, Any], shape: Sequence[int], random: np.random.Generator) -> Tensor:
    """Return normally distributed floats; or integers 0 or 1, which are valid for masks and
    indices."""
    datatype = DATATYPES[spec["datatype"]]
    if datatype.name == "BYTES":
        return Tensor(spec["name"], datatype, np.full(shape, "text", object))
    if datatype.name == "BF16":  # the upper 16 bits of a float32
        floats = random.standard_normal(shape).astype(np.float32)
        upper = (np.atleast_1d(floats).view(np.uint32) >> 16).astype(np.uint16)
        return Tensor(spec["name"], datatype, upper.reshape(shape))
    drawn = (
        random.standard_normal(shape) if datatype.kind == "number" else random.integers(0, 2, shape)
    )
    return Tensor(spec["name"], datatype, np.asarray(drawn).astype(datatype.dtype))


def _from_npz(path: Path, metadata: Metadata, rows: int) -> Rows:
    try:
        arrays = read_npz(path, MOST_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"--data {path}: there is no such file") from None
    except FileUnreadable as error:
        raise ConfigError(f"--data {path}: {error}") from None
    tensors = [_fitting(path, spec, arrays) for spec in metadata["inputs"]]
    return Rows(str(path), _cut(tensors, metadata, rows))


def _fitting(path: Path, spec: Mapping[str, Any], arrays: Mapping[str, Array]) -> Tensor:
    """Return the array for an input, with rows on the first axis.

    Raises:
        ConfigError: the array is missing or does not fit.
    """
    name, datatype, shape = spec["name"], DATATYPES[spec["datatype"]], spec["shape"]
    array = arrays.get(INPUTS + name, arrays.get(name))
    takes = f'input "{name}" takes {datatype} {show_shape(shape)}'
    if array is None:
        has = ", ".join(f'"{each}"' for each in arrays if not each.startswith(NOT_INPUTS))
        raise ConfigError(f"--data {path}: {takes}, and there is no such array; has {has}")
    text = datatype.name == "BYTES"
    wanted = "US" if text else "iu" if datatype.dtype.kind in "iu" else datatype.dtype.kind
    if array.dtype.kind not in wanted:
        raise ConfigError(f"--data {path}: {takes}, got {array.dtype} {list(array.shape)}")
    if array.ndim == len(shape) - 1 and shape[0] in (-1, 1):
        array = array[None]
    fixed = zip(array.shape, shape, strict=False)
    if array.ndim != len(shape) or any(want not in (-1, got) for got, want in list(fixed)[1:]):
        raise ConfigError(f"--data {path}: {takes}, got {array.dtype} {list(array.shape)}")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    cast = array.astype(datatype.dtype)
    if array.dtype.kind in "iu" and (cast != array).any():
        raise ConfigError(f"--data {path}: {takes}, and values of {array.dtype} do not fit")
    return Tensor(name, datatype, cast)


def _cut(tensors: Sequence[Tensor], metadata: Metadata, rows: int) -> tuple[Request, ...]:
    """Split tensors into requests of ``rows`` rows; one request if the inputs are not a batch."""
    whole = Request(tuple(tensors))
    shapes = [spec["shape"] for spec in metadata["inputs"]]
    counts = {len(tensor.array) if tensor.array.ndim else -1 for tensor in tensors}
    batch = all(shape and shape[0] in (-1, rows) for shape in shapes) and len(counts) == 1
    if not batch or metadata.get("parameters", {}).get("batching") == "requests":
        return (whole,)
    (count,) = counts
    starts = range(0, max(1, min(count, MOST_REQUESTS * rows) // rows) * rows, rows)
    parts = (
        Request(tuple(t._replace(array=t.array[start : start + rows]) for t in tensors))
        for start in starts
    )
    return tuple(part.with_rows(rows) if count < rows else part for part in parts)


def _decoded(text: bytes) -> Request:
    """Decode a request in JSON.

    Raises:
        MalformedRequest
    """
    inputs = codec.decode(text).inputs
    message = loads(text)
    rest = {key: value for key, value in message.items() if key != "inputs"}
    return Request(inputs, rest, text)


def _with_rows(request: Request, rows: int) -> Request:
    """Return the request with ``rows`` rows, unchanged if ``rows`` is 1."""
    return request if rows == 1 else request.with_rows(rows)


def _suits(request: Request, metadata: Metadata) -> bool:
    known = {spec["name"]: spec for spec in metadata["inputs"]}
    given = {tensor.name: tensor for tensor in request.inputs}
    return known.keys() <= given.keys() and all(
        given[name].datatype.name == spec["datatype"] for name, spec in known.items()
    )


def _is_v1(message: Mapping[str, Any]) -> bool:
    """Return True if a message is a V1 request. Both protocols have the key ``inputs``: a list of
    tensors in V2, columns or plain values in V1."""
    if any(form in message for form in FORMS if form != "inputs"):
        return True
    inputs = message.get("inputs")
    if isinstance(inputs, list):
        return not all(isinstance(each, dict) and "datatype" in each for each in inputs)
    return isinstance(inputs, dict)
