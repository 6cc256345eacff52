"""The datatypes of the Open Inference Protocol v2, and the numpy datatypes that hold them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype of the protocol.

    ``kind`` is the kind of JSON value that it accepts; ``size`` is bytes per element, 0 for BYTES.
    """

    name: str
    dtype: np.dtype[Any]
    kind: str
    size: int

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        # A process has one object for each datatype: they are compared by identity.
        return (_datatype, (self.name,))


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


def _datatype(name: str) -> Datatype:
    return DATATYPES[name]


def wanted(datatype: Datatype) -> str:
    """Describe the values that a datatype accepts, for people."""
    if datatype.kind != "integer":
        return f"{datatype.kind} values"
    limits = np.iinfo(datatype.dtype)
    return f"integer values from {limits.min} to {limits.max}"
