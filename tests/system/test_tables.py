"""Tables in every form, sent to a real server: each answer equals ONNX Runtime's answer for the
same arrays.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest

from tests import tiny_models
from tests.engine.graphs import attention, linear, save
from tests.system.process import ROOT, Running, running
from tests.system.wire import Answer, chunked, get, post

PADDED = "[batching.padding]\nbuckets = [4, 8]\nvalues = { ids = 0, attention_mask = 0 }\n"
NAMES = ["area", "rooms", "city", "garden"]
DTYPES = dict(zip(NAMES, [np.float32, np.int64, object, np.bool_], strict=True))


class Tables(NamedTuple):
    """A server, and sessions on the files of its models in this process."""

    server: Running
    sessions: dict[str, onnxruntime.InferenceSession]

    def direct(self, model: str, **arrays: Any) -> Any:
        """Return the first output from ONNX Runtime itself."""
        return self.sessions[model].run(None, arrays)[0]

    def predict(self, model: str, body: Any, way: Callable[..., bytes], **headers: str) -> Any:
        """Return the predictions for a body of JSON, or of bytes."""
        answer = self.ask(model, body, way, **headers)
        assert answer.status == 200, answer.body
        return answer.json["predictions"]

    def ask(self, model: str, body: Any, way: Callable[..., bytes], **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.server.ask(way(f"/v1/models/{model}:predict", data, **headers))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.houses(folder, "[batching]\nmax_batch_size = 4096\n")
    tiny_models.identity(folder, "FP32")
    save(linear(3, 2, 4), folder / "linear")
    save(attention(), folder / "attention")
    (folder / "attention" / "model.toml").write_text(PADDED)
    names = ("houses", "linear", "attention")
    sessions = {n: onnxruntime.InferenceSession(folder / n / "1/model.onnx") for n in names}
    with running(folder) as server:
        yield Tables(server, sessions)
        assert [line for line in server.logged() if line["level"] == "error"] == []


def expecting(path: str, body: bytes, **headers: str) -> bytes:
    return post(path, body, Expect="100-continue", **headers)


def compressed(path: str, body: bytes, **headers: str) -> bytes:
    return chunked(path, gzip.compress(body), 60_000, Content_Encoding="gzip", **headers)


WAYS = {"direct": post, "asgi": expecting, "compressed": compressed}


def rows(count: int) -> list[list[Any]]:
    cities = ["Oslo", "Paris", "Rome, IT"]
    return [[50.25 + i % 70, i % 9, cities[i % 3], i % 2 == 0] for i in range(count)]


def as_csv(names: list[str], table: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([names, *table])
    return text.getvalue().encode()


def forms(names: list[str], table: list[list[Any]]) -> dict[str, tuple[Any, dict[str, str]]]:
    records = [dict(zip(names, row, strict=True)) for row in table]
    columns = dict(zip(names, map(list, zip(*table, strict=True)), strict=True))
    found: dict[str, Any] = {
        "instances": {"instances": records},
        "inputs": {"inputs": columns},
        "split": {"dataframe_split": {"columns": names, "data": table}},
        "records": {"dataframe_records": records},
    }
    as_json = {form: (body, {}) for form, body in found.items()}
    return {**as_json, "csv": (as_csv(names, table), {"Content_Type": "text/csv"})}


FORMS = ["instances", "inputs", "split", "records", "csv"]


@pytest.mark.parametrize("count", [1, 3, 3000], ids=["one", "few", "elsewhere"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_pipeline_of_columns_answers_each_form(
    tables: Tables, form: str, count: int, way: Callable[..., bytes]
) -> None:
    table = rows(count)
    body, headers = forms(NAMES, table)[form]
    arrays = {
        name: np.array([[row[i]] for row in table], DTYPES[name]) for i, name in enumerate(NAMES)
    }
    expected = tables.direct("houses", **arrays)
    np.testing.assert_allclose(tables.predict("houses", body, way, **headers), expected, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_model_of_one_wide_input_takes_columns_in_order(
    tables: Tables, form: str, way: Callable[..., bytes]
) -> None:
    table = [[1.5, 2, -0.25], [0.1, 1e-3, 4]]
    expected = tables.direct("linear", x=np.array(table, np.float32))
    body, headers = forms(["width", "height", "depth"], table)[form]
    found = tables.predict("linear", body, way, **headers)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_large_tables_in_the_codec_process_give_the_same_values(
    tables: Tables, form: str, way: Callable[..., bytes]
) -> None:
    values = np.random.default_rng(3).standard_normal((8, 2000)).astype(np.float32)
    table = values.astype(np.float64).tolist()
    body, headers = forms([f"feature {i}" for i in range(2000)], table)[form]
    size = len(body if isinstance(body, bytes) else json.dumps(body))
    assert size > 2**17  # more than is read in the event loop
    found = tables.predict("same_fp32", body, way, **headers)
    assert np.array(found, np.float32).tolist() == values.tolist()
    bad = json.loads(json.dumps(table))
    bad[7][1999] = "x"
    body, headers = forms([f"feature {i}" for i in range(2000)], bad)[form]
    answer = tables.ask("same_fp32", body, way, **headers)
    assert answer.status == 400
    assert answer.error.endswith('number values, got "x" in row 7, column "feature 1999"')


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_errors_name_the_row_and_column(tables: Tables, way: Callable[..., bytes]) -> None:
    table = rows(3)
    table[2][1] = 1.5
    for body, headers in forms(NAMES, table).values():
        answer = tables.ask("houses", body, way, **headers)
        assert answer.status == 400
        assert 'input "rooms" takes INT64: integer values' in answer.error
        assert answer.error.endswith("in row 2")
    for body, headers in forms(["area", "rooms", "City", "garden"], rows(1)).values():
        answer = tables.ask("houses", body, way, **headers)
        assert answer.status == 400
        assert 'unknown column "City", perhaps "city" is meant' in answer.error
        assert 'column "city" is missing' in answer.error


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_sentences_of_different_lengths_are_padded(
    tables: Tables, way: Callable[..., bytes]
) -> None:
    sentences = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    body = {"instances": [{"ids": s, "attention_mask": [1] * len(s)} for s in sentences]}
    found = tables.predict("attention", body, way)
    for sentence, prediction in zip(sentences, found, strict=True):
        ids = np.array([sentence])
        states, mean = tables.sessions["attention"].run(
            None, {"ids": ids, "attention_mask": np.ones_like(ids)}
        )
        np.testing.assert_allclose(prediction["mean"], mean[0], rtol=1e-4, atol=1e-6)
        own = np.array(prediction["states"])[: len(sentence)]
        np.testing.assert_allclose(own, states[0], rtol=1e-4, atol=1e-6)
    answer = tables.ask("same_fp32", {"instances": [[1, 2], [3]]}, way)
    assert answer.status == 400
    assert "row 0 has 2 values, row 1 has 1" in answer.error
    assert "[batching.padding] in model.toml" in answer.error


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("count", [2, 4000], ids=["here", "elsewhere"])
def test_json_numbers_of_another_datatype_are_converted(
    tables: Tables, count: int, way: Callable[..., bytes]
) -> None:
    values = np.random.default_rng(4).standard_normal((2, count))
    for datatype, given in (("FP64", values), ("INT64", (values * 1000).round())):
        data = given.tolist() if datatype == "FP64" else given.astype(int).tolist()
        tensor = {"name": "x", "datatype": datatype, "shape": [2, count], "data": data}
        body = json.dumps({"inputs": [tensor]}).encode()
        answer = tables.server.ask(way("/v2/models/same_fp32/infer", body))
        assert answer.status == 200, answer.body
        (output,) = answer.json["outputs"]
        assert output["datatype"] == "FP32"
        assert np.array(output["data"], np.float32).tolist() == (
            given.astype(np.float32).ravel().tolist()
        )
    tensor = {"name": "x", "datatype": "FP64", "shape": [count], "data": [1e300] * count}
    for shape in ([1, count], [count]):
        body = json.dumps({"inputs": [tensor | {"shape": shape}]}).encode()
        answer = tables.server.ask(way("/v2/models/same_fp32/infer", body))
        assert answer.status == 400
        what = "1e+300 is too large for FP32, in row 0, column 0"
        assert (what if len(shape) == 2 else "takes FP32 [-1, -1], got FP64") in answer.error


def test_v1_models_are_listed(tables: Tables) -> None:
    for path in ("/v2/models", "/v2/models/"):
        found = tables.server.ask(get(path)).json["models"]
        assert [each["name"] for each in found] == ["attention", "houses", "linear", "same_fp32"]
        ready = [{"version": "1", "state": "READY", "reason": ""}]
        assert found[0] == {
            "name": "attention", "state": "READY", "reason": "", "serving": "1", "versions": ready,
        }  # fmt: skip


def test_the_shipped_model_of_tables_answers_each_form(server: str) -> None:
    example = json.loads((ROOT / "models/diabetes/example.json").read_text())
    arrays = {
        each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in example["inputs"]
    }
    given = {
        "categories": arrays["categories"].astype(np.int64),
        "measurements": arrays["measurements"].astype(np.float32),
    }
    session = onnxruntime.InferenceSession(ROOT / "models/diabetes/1/model.onnx")
    expected = session.run(["progression"], given)[0]
    columns = {name: array.tolist() for name, array in arrays.items()}
    row = {name: column[0] for name, column in columns.items()}
    bodies = [
        {"inputs": columns},
        {"instances": [row]},
        {"dataframe_records": [row]},
        {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}},
    ]
    served = Running(server, "", None, None)  # type: ignore[arg-type]
    for body in bodies:
        data = json.dumps(body).encode()
        answer = served.ask(post("/v1/models/diabetes:predict", data))
        np.testing.assert_allclose(answer.json["predictions"], expected, rtol=1e-4)
