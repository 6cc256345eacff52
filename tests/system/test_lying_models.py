"""Models that break the promises of their files are served as far as possible. Models that cannot
be served do not affect the others.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from service.engine.host.resources import usable_cores
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.engine import graphs, quantizers
from tests.patience import PATIENCE
from tests.system.process import Running, running

Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Served:
    """A server, and the same graphs in this process for comparison."""

    process: Running
    folder: Path

    def ask(self, path: str, body: object = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        try:
            url = f"http://{self.process.address}{path}"
            with urllib.request.urlopen(
                urllib.request.Request(url, data), timeout=PATIENCE
            ) as reply:
                return reply.status, json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def infer(self, model: str, inputs: Values) -> Values:
        kinds = {"float32": "FP32", "int64": "INT64"}
        tensors = [
            {
                "name": name,
                "datatype": kinds[str(array.dtype)],
                "shape": array.shape,
                "data": array.ravel().tolist(),
            }
            for name, array in inputs.items()
        ]
        status, answer = self.ask(f"/v2/models/{model}/infer", {"inputs": tensors})
        assert status == 200, answer
        return {
            output["name"]: np.array(output["data"], np.float32).reshape(output["shape"])
            for output in answer["outputs"]
        }

    def direct(self, model: str, inputs: Values) -> Values:
        session = Session(self.folder / model / "1" / "model.onnx", SessionOptions())
        arrays = tuple(inputs[spec.name] for spec in session.signature.inputs)
        names = [spec.name for spec in session.signature.outputs]
        return dict(zip(names, session.run(arrays), strict=True))

    def about(self, model: str) -> dict[str, str]:
        status, answer = self.ask(f"/v2/models/{model}")
        assert status == 200, answer
        parameters: dict[str, str] = answer["parameters"]
        return parameters


GOLDEN = {
    "inputs/x": np.ones((4, 32), np.float32),
    "outputs/y": np.ones((4, 10), np.float32),
}
BROKEN_GOLDEN: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "golden-name": ({"inputs/z": GOLDEN["inputs/x"]}, '"inputs/z", which the model does not'),
    "golden-shape": (
        {"inputs/x": np.ones((4, 31), np.float32)},
        'input "x" takes FP32 [-1, 32], got FP32 [4, 31]',
    ),
    "golden-dtype": (
        {"inputs/x": np.ones((4, 32))},
        'input "x" takes FP32 [-1, 32], got float64',
    ),
    "golden-output": (
        {**GOLDEN, "outputs/y": np.ones((4, 9), np.float32)},
        'output "y" has shape [1, 10] for its first row, "outputs/y" has [4, 9]',
    ),
}


def write_all(folder: Path, scratch: Path) -> None:
    """Write one model of each kind."""
    models: dict[str, onnx.ModelProto] = {
        "honest": graphs.linear(),
        "static": quantizers.static(graphs.linear(), scratch),
        "dynamic": quantizers.dynamic(graphs.linear(64, 1024, hidden=4096), scratch),
        "dynamic-combined": quantizers.dynamic(graphs.linear(64, 1024, hidden=4096), scratch),
        "fails-from-8": graphs.fails_from(8),
        "fails-from-2": graphs.fails_from(2),
        "one-row": graphs.declares_one_row(),
        "no-batch-out": graphs.no_batch_out(),
        "axis-1": graphs.batch_on_axis_1(),
        "running-total": graphs.running_total(),
        "centred": graphs.centred(),
        "random": graphs.random_output(),
        "no-input": graphs.no_input(),
        "fixed": graphs.fixed_batch(4),
        "eights": graphs.eights(),
        "two-inputs": graphs.two_inputs(),
        "square": graphs.square(),
        "padded": graphs.attention(),
        "padded-unmasked": graphs.attention(heed_mask=False),
        "rejected": graphs.model([graphs.node("Nope", "x", to="y")], [], []),
        "outside": graphs.linear(),
    }
    tensor = models["outside"].graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../secret")
    for name, model in models.items():
        graphs.save(model, folder / name)
    (folder / "dynamic-combined" / "model.toml").write_text('[batching]\ncombine = "always"\n')
    padding = "[batching.padding]\nbuckets = [8, 16]\nvalues = { ids = 0, attention_mask = 0 }\n"
    (folder / "padded-unmasked" / "model.toml").write_text(padding)
    # Four rows are waited for, whatever pays here: there are enough of them.
    together = "[batching]\npreferred_batch_size = 4\nmax_queue_delay = 10\n"
    (folder / "padded" / "model.toml").write_text(together + padding)
    for name, (arrays, _) in BROKEN_GOLDEN.items():
        graphs.save(graphs.linear(), folder / name)
        np.savez(folder / name / "golden.npz", **arrays)  # type: ignore[arg-type]
    (folder / "no-onnx" / "1").mkdir(parents=True)
    (folder / "no-onnx" / "1" / "model.onnx").write_text("<html>404</html>")
    graphs.save(graphs.linear(), folder / "bad-toml")
    (folder / "bad-toml" / "model.toml").write_text("[batching]\nmax_batch = 3\n")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("models")
    write_all(folder, tmp_path_factory.mktemp("scratch"))
    with running(folder) as process:
        yield Served(process, folder)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# model, batching mode, part of its note, requests whose answers must equal those of the graph
SERVED: list[tuple[str, str, str, list[Values]]] = [
    ("honest", "combine", "", [{"x": floats(n, 32)} for n in (1, 3, 64)]),
    ("static", "combine", "", [{"x": floats(n, 32)} for n in (1, 3, 64)]),
    ("one-row", "combine", "", [{"x": floats(n, 4)} for n in (1, 8)]),
    ("no-batch-out", "requests", "shape [] for 2 rows", [{"x": floats(n, 4)} for n in (1, 8)]),
    ("axis-1", "requests", 'output "y" has shape', [{"x": floats(5, n, 3)} for n in (1, 8)]),
    ("running-total", "requests", "request by request", [{"x": floats(9, 4)}]),
    ("centred", "requests", "answers change by more than 100 %", [{"x": floats(9, 4)}]),
    ("fixed", "requests", "first axis of fixed length", [{"x": floats(4, 4)}]),
    ("eights", "combine", "", [{"x": floats(3, n)} for n in (8, 40)]),
    ("two-inputs", "combine", "", [{"a": floats(3, 5), "b": floats(3, 5, seed=1)}]),
    ("square", "requests", 'the length "n" on two axes', [{"x": floats(5, 5)}]),
]


@pytest.mark.parametrize(("model", "mode", "note", "requests"), SERVED)
def test_models_with_wrong_promises_are_served_correctly(
    served: Served, model: str, mode: str, note: str, requests: list[Values]
) -> None:
    about = served.about(model)
    assert about["batching"] == mode and note in about["batching_note"]
    assert bool(note) == bool(about["batching_note"])
    with ThreadPoolExecutor(4) as pool:  # several at once, so that they could share a run
        answers = pool.map(lambda request: served.infer(model, request), requests * 4)
    for request, answer in zip(requests * 4, answers, strict=True):
        for name, expected in served.direct(model, request).items():
            np.testing.assert_allclose(answer[name], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("limit", [2, 8])
def test_rows_that_cannot_share_a_run_run_alone(served: Served, limit: int) -> None:
    model = f"fails-from-{limit}"
    about = served.about(model)
    assert about["batching"] == "rows"
    assert f"{limit} rows cannot share a run: the model refuses" in about["batching_note"]
    rows = floats(20, 4)
    assert (served.infer(model, {"x": rows})["y"] == rows).all()


def test_rows_that_influence_each_other_run_alone(served: Served) -> None:
    about = served.about("dynamic")
    assert about["precision"] == "INT8 dynamic" and about["batching"] == "rows"
    assert "one scale for the whole batch" in about["batching_note"]
    assert float(about["batch_deviation"]) > 1e-3
    status, config = served.ask("/v2/models/dynamic/config")
    # One where a row takes less than the way to a thread: test_plan.py says which of them when.
    assert status == 200 and config["instance_group"][0]["count"] in {1, usable_cores()}
    rows = floats(8, 64) * 2.0 ** np.arange(8, dtype=np.float32)[:, None]
    alone = [served.direct("dynamic", {"x": rows[i : i + 1]})["y"] for i in range(8)]
    np.testing.assert_array_equal(served.infer("dynamic", {"x": rows})["y"], np.concatenate(alone))


def test_combine_always_batches_rows_that_influence_each_other(served: Served) -> None:
    about = served.about("dynamic-combined")
    assert about["batching"] == "combine" and "as model.toml says" in about["batching_note"]
    rows = floats(8, 64) * 2.0 ** np.arange(8, dtype=np.float32)[:, None]
    together = served.direct("dynamic-combined", {"x": rows})["y"]
    np.testing.assert_array_equal(served.infer("dynamic-combined", {"x": rows})["y"], together)


def test_a_random_model_is_served_without_batching(served: Served) -> None:
    about = served.about("random")
    assert about["batching"] == "requests"
    assert "answers differ from one run to the next" in about["batching_note"]
    assert served.infer("random", {"x": floats(3, 4)})["y"].shape == (3, 4)


def test_a_model_without_inputs_is_served(served: Served) -> None:
    assert served.about("no-input")["batching_note"] == "the model takes no input"
    status, answer = served.ask("/v2/models/no-input/infer", {"inputs": []})
    assert status == 200, answer


def sentences(count: int) -> list[Values]:
    """Return sentences of 1 to 16 tokens; 24 fill four runs of one bucket, two of the other."""
    rng = np.random.default_rng(0)
    lengths = np.resize(np.arange(1, 17), count)
    return [
        {"ids": rng.integers(1, 100, (1, n)), "attention_mask": np.ones((1, n), np.int64)}
        for n in lengths
    ]


def test_rows_of_several_lengths_are_padded_and_answers_are_cut(served: Served) -> None:
    about = served.about("padded")
    assert (about["batching"], about["batching_note"]) == ("combine", "")
    requests = sentences(24)
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda request: served.infer("padded", request), requests))
    for request, answer in zip(requests, answers, strict=True):
        for name, expected in served.direct("padded", request).items():
            np.testing.assert_allclose(answer[name], expected, atol=1e-4)
    (stats,) = served.ask("/v2/models/padded/stats")[1]["model_stats"]
    assert stats["inference_count"] == 24 > stats["execution_count"]  # they did share runs


def test_a_model_that_ignores_its_mask_is_not_padded(served: Served) -> None:
    about = served.about("padded-unmasked")
    assert about["batching"] == "combine"
    assert "when padded: not padded" in about["batching_note"]
    for request in sentences(4):
        expected = served.direct("padded-unmasked", request)
        answer = served.infer("padded-unmasked", request)
        np.testing.assert_allclose(answer["mean"], expected["mean"], atol=1e-4)


UNAVAILABLE = {
    "rejected": "ONNX Runtime rejects model.onnx",
    "outside": "leads outside the folder of the version",
    "no-onnx": "model.onnx is not an ONNX model",
    "bad-toml": "batching.max_batch is not a setting",
    **{name: reason for name, (_, reason) in BROKEN_GOLDEN.items()},
}


@pytest.mark.parametrize("model", UNAVAILABLE)
def test_unavailable_models_report_the_reason_and_others_are_served(
    served: Served, model: str
) -> None:
    reason = UNAVAILABLE[model]
    index = {each["name"]: each for each in served.ask("/v2/repository/index", {})[1]}
    assert index[model]["state"] == "UNAVAILABLE"
    assert reason in index[model]["reason"]
    assert str(served.folder) not in index[model]["reason"]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 32], "data": [0] * 32}
    status, answer = served.ask(f"/v2/models/{model}/infer", {"inputs": [tensor]})
    assert status == 503 and reason in answer["error"]
    assert served.ask("/v2/health/ready")[0] == 200
    assert served.infer("honest", {"x": floats(1, 32)})["y"].shape == (1, 10)


def test_the_start_reports_every_model_and_its_problems(served: Served) -> None:
    told = served.process.told
    for folder in served.folder.iterdir():
        assert folder.name in told
    for text in (*UNAVAILABLE.values(), "one scale for the whole batch"):
        assert text.split(",")[0] in " ".join(told.split())
