"""Tables in each form that V1 accepts, and signatures for them."""

import csv
import io
from typing import Any

import orjson

from service.api.protocol import v1
from service.core.padding import Padding
from service.core.tensors import DATATYPES, Array, Signature, TensorSpec


def spec(name: str, datatype: str, *shape: int | str | None) -> TensorSpec:
    return TensorSpec(name, DATATYPES[datatype], shape)


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs, ())


def arrays(body: Any, taker: Signature, **how: Any) -> dict[str, Array]:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return {t.name: t.array for t in v1.decode(data, taker, **how).inputs}


def same(one: dict[str, Array], other: dict[str, Array]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype
        assert array.shape == other[name].shape
        assert array.tolist() == other[name].tolist()


def as_csv(names: list[str], rows: list[list[Any]], **how: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, **how).writerows([names, *rows])
    return text.getvalue().encode()


def forms(names: list[str], rows: list[list[Any]]) -> list[Any]:
    records = [dict(zip(names, row, strict=True)) for row in rows]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return [
        {"instances": records},
        {"inputs": records},
        {"inputs": columns},
        {"inputs": dict(reversed(columns.items()))},
        {"dataframe_records": records},
        {"dataframe_split": {"columns": names, "data": rows, "index": list(range(len(rows)))}},
        {"instances": [{name: [value] for name, value in row.items()} for row in records]},
    ]


TWO = signature(spec("age", "INT64", "n", 1), spec("city", "BYTES", "n", 1))
WIDE = signature(spec("x", "FP32", "n", 3))
IDS, MASK = spec("ids", "INT64", "n", "s"), spec("mask", "INT64", "n", "s")
PADS = Padding((4, 8), (9, 0), ((True,), (True,)), ((),), (("s", ((0, 1), (1, 1))),))
