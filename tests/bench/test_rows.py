"""The source of rows; errors name rows that do not fit the model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.bench.rows import Rows, _made_up, from_file
from service.core.errors import ConfigError

METADATA = {
    "name": "m",
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "ids", "datatype": "INT64", "shape": [-1, -1]},
    ],
    "parameters": {"batching": "combine"},
}


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "rows.npz", **arrays)
    return folder / "rows.npz"


X, IDS = np.arange(8, dtype=np.float64).reshape(4, 2), np.arange(12, dtype=np.int32).reshape(4, 3)


def shapes(rows: Rows) -> list[list[tuple[int, ...]]]:
    return [[t.array.shape for t in request.inputs] for request in rows.requests]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(1, [[(1, 2), (1, 3)]] * 4), (3, [[(3, 2), (3, 3)]]), (6, [[(6, 2), (6, 3)]])],
)
def test_an_archive_is_cut_into_requests(tmp_path: Path, rows: int, expected: list[Any]) -> None:
    for names in ({"x": X, "ids": IDS}, {"inputs/x": X, "inputs/ids": IDS, "outputs/y": X}):
        found = from_file(npz(tmp_path, **names), METADATA, rows)
        assert shapes(found) == expected
        assert [t.array.dtype for t in found.requests[0].inputs] == [np.float32, np.int64]


def test_inputs_that_share_no_batch_are_one_request(tmp_path: Path) -> None:
    found = from_file(npz(tmp_path, x=X, ids=IDS[:3]), METADATA, 1)
    assert shapes(found) == [[(4, 2), (3, 3)]]
    whole = {**METADATA, "parameters": {"batching": "requests"}}
    assert shapes(from_file(npz(tmp_path, x=X, ids=IDS), whole, 1)) == [[(4, 2), (4, 3)]]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X}, 'input "ids" takes INT64 [-1, -1], and there is no such array; has "x"'),
        ({"x": X[:, :1], "ids": IDS}, 'input "x" takes FP32 [-1, 2], got float64 [4, 1]'),
        ({"x": X, "ids": X}, 'input "ids" takes INT64 [-1, -1], got float64 [4, 2]'),
        ({"x": X, "ids": np.uint64([[2**63]])}, "values of uint64 do not fit"),
    ],
)
def test_an_array_that_does_not_fit_is_named(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        from_file(npz(tmp_path, **arrays), METADATA, 1)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [1]},
        {"inputs": {"x": [[1, 2]]}},
        {"inputs": [[1, 2]]},
        {"dataframe_records": [{"x": 1}]},
        {"dataframe_split": {"columns": ["x"], "data": [[1]]}},
    ],
)
def test_a_v1_body_is_sent_unchanged(tmp_path: Path, body: dict[str, Any]) -> None:
    path = tmp_path / "v1.json"
    path.write_text(json.dumps(body))
    assert from_file(path, METADATA, 1) == Rows(str(path), (), path.read_bytes())


@pytest.mark.parametrize("text", ["{", "[]", '{"inputs": [{"name": "x", "datatype": "FP99"}]}'])
def test_a_file_without_a_request_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.json"):
        from_file(tmp_path / "a.json", METADATA, 1)
    with pytest.raises(ConfigError, match="no such file"):
        from_file(tmp_path / "none.json", METADATA, 1)
    with pytest.raises(ConfigError, match="no such file"):
        from_file(tmp_path / "none.npz", METADATA, 1)


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT64", "FP16", "BF16", "FP64", "BYTES"])
def test_rows_of_every_datatype_are_generated(datatype: str) -> None:
    inputs = [{"name": "x", "datatype": datatype, "shape": [-1, -1, 3]},
              {"name": "s", "datatype": datatype, "shape": []}]  # fmt: skip
    (request,) = _made_up({"name": "m", "inputs": inputs}, 2).requests
    assert [t.array.shape for t in request.inputs] == [(2, 16, 3), ()]
    assert all(t.array.dtype == t.datatype.dtype for t in request.inputs)


def test_an_unknown_shape_requires_data() -> None:
    odd = {**METADATA, "parameters": {"any_shape": '"x"'}}
    with pytest.raises(ConfigError, match="--data"):
        _made_up(odd, 1)
