"""The whole pipeline on a small model: from a file and rows to a version, and its errors."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import orjson
import pytest
from onnx import helper
from onnxruntime.quantization import quantize_dynamic

from service.config.model import ModelConfig
from service.core.batching import BatchingMode
from service.core.errors import ConfigError
from service.engine.loading.loader import load
from service.engine.repository.gate import golden_checks
from service.engine.runtime.session import new_control
from service.engine.storage.golden import read_golden
from service.quantization.data.rows import Rows, Split
from service.quantization.pipeline import QuantizeOptions, carry_out
from service.quantization.recipes.catalogue import Dynamic, PerRow, Recipe, Static, WeightOnly
from service.quantization.search.decide import Candidate
from service.quantization.search.search import Search
from service.quantization.search.workplace import new_work_dir, scratch_folder
from tests.patience import PATIENCE, until
from tests.quantization.recipes.test_per_row import network, rows
from tests.quantization.tiny_models import conv_net, recurrent, save

ROWS_ONLY = (Recipe("per row", PerRow()),)
FEW = (
    Recipe("static", Static(reduce_range=True)),
    Recipe("weight-only", WeightOnly(4)),
)
SEARCH = "service.quantization.search.search"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two recipes instead of all."""
    monkeypatch.setattr(f"{SEARCH}.catalogue", lambda kinds, saturates: FEW)


def quantize(model: Path, data: Path | str, models: Path, **more: object) -> dict:
    carry_out(
        QuantizeOptions(model, str(data), models=models, timing_seconds=0.02, threads=1, **more)
    )  # type: ignore[arg-type]
    home = models / "tiny"
    newest = max((p for p in home.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    report: dict = json.loads((newest / "report.json").read_text())
    return report


@pytest.mark.usefixtures("few")
def test_a_search_ends_with_a_version_that_serves(model: Path, data: Path, tmp_path: Path) -> None:
    home = tmp_path / "models/tiny"
    options = QuantizeOptions(
        model, str(data), models=tmp_path / "models", target="size", max_drop=1.0,
        timing_seconds=0.02, threads=1,
    )  # fmt: skip
    told = carry_out(options).splitlines()
    written = {Path(line.removeprefix("wrote ")) for line in told if line.startswith("wrote ")}
    assert written == {p for p in home.rglob("*") if p.is_file()}
    assert told[-2].endswith(f"quantserve serve --models {tmp_path}/models")
    assert told[-1].endswith("quantserve swap tiny 1")
    report = json.loads((home / "1/report.json").read_text())
    assert sorted(p.name for p in home.iterdir()) == ["1", "golden.npz"]
    assert sorted(p.name for p in (home / "1").iterdir()) == [
        "model.onnx", "report.html", "report.json",
    ]  # fmt: skip
    names = [row["name"] for row in report["candidates"]]
    assert names[:2] == ["static", "weight-only"]
    static = report["candidates"][0]
    assert static["fusion_ratio"] == 1.0
    # A candidate that was measured far slower than FP32 was not evaluated further.
    assert static["batch_invariant"] is (None if static["dropped"] else True)
    assert static["kernels"] == "default"  # weights of seven bits
    assert static["timing"]["latency_ratio"] > 0
    assert static["quality"]["metric"] == "accuracy"
    assert load(home / "1", ModelConfig(), 1).signature.batchable


@pytest.mark.usefixtures("few")
def test_candidates_run_with_the_kernels_that_model_toml_asks_for(
    model: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "models/tiny").mkdir(parents=True)
    (tmp_path / "models/tiny/model.toml").write_text('[session]\nkernels = "exact"')
    report = quantize(model, data, tmp_path / "models", target="size", max_drop=1.0)
    assert report["candidates"][0]["kernels"] == "exact"


def test_fp32_is_published_if_nothing_is_better_and_golden_rows_stay(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{SEARCH}.catalogue", lambda kinds, saturates: FEW[1:])
    # A tiny model's files hardly shrink, and no ratio of speed can be believed in a test.
    with np.load(data) as rows:
        np.savez(data, x=rows["x"])
    models = tmp_path / "models"
    report = quantize(model, data, models, target="size", max_drop=0.0, metric="cosine")
    assert report["decision"]["winner"] is None
    assert report["decision"]["reason"].startswith("FP32 stays")
    assert (models / "tiny/1/model.onnx").read_bytes() == model.read_bytes()
    golden = (models / "tiny/golden.npz").stat().st_mtime_ns
    quantize(model, data, models, target="size", max_drop=0.0, metric="cosine")
    assert (models / "tiny/2").is_dir()
    assert (models / "tiny/golden.npz").stat().st_mtime_ns == golden


@pytest.mark.usefixtures("few")
def test_random_rows_warn_that_accuracy_is_unknown(model: Path, tmp_path: Path) -> None:
    report = quantize(model, "random", tmp_path / "models", target="size")
    assert report["decision"]["reason"].startswith("ACCURACY WAS NOT MEASURED")


def test_another_models_folder_is_refused(data: Path, model: Path, tmp_path: Path) -> None:
    home = tmp_path / "models/tiny"
    home.mkdir(parents=True)
    np.savez(home / "golden.npz", **{"inputs/other": np.zeros((1, 2), np.float32)})
    with pytest.raises(ConfigError, match="tiny is another model: .*choose another --name"):
        quantize(model, data, tmp_path / "models")


def test_a_given_file_must_be_quantized_and_match_the_model(
    model: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--qat tiny.onnx is not quantized"):
        quantize(model, data, tmp_path / "models", qat=(model,))
    assert not (tmp_path / "models/tiny").exists()


def test_an_invalid_model_name_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a valid model name"):
        carry_out(QuantizeOptions(model, str(data), name="../x", models=tmp_path))


def test_a_stopped_search_leaves_no_version_and_can_be_continued(
    model: Path, data: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "service", "quantize", str(model), "--data", str(data),
               "--models", str(tmp_path / "models"), "--target", "size"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        home = tmp_path / "models/tiny"

        def begun() -> bool:
            assert process.poll() is None, process.stderr and process.stderr.read()
            return bool(list(home.glob(".quantize/*/journal.jsonl")))

        until(begun, "no journal")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "run the same command again to resume" in errors
    assert "Traceback" not in errors
    assert [p.name for p in home.iterdir() if p.name.isdigit()] == []
    assert list(home.glob(".quantize/*/journal.jsonl"))


def test_a_second_concurrent_search_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    home = tmp_path / "models/tiny"
    home.mkdir(parents=True)
    with scratch_folder(home), pytest.raises(ConfigError, match="another quantize is running"):
        quantize(model, data, tmp_path / "models")
    assert (home / ".quantize").is_dir()


@pytest.mark.usefixtures("few")
def test_a_metric_that_fails_on_fp32_leaves_nothing(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad_metric.py").write_text("def f(outputs, labels):\n    return 1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="tiny.onnx .*--metric bad_metric:f fails on FP32"):
        quantize(model, data, tmp_path / "models", metric="bad_metric:f")
    assert not (tmp_path / "models").exists()


def test_a_folder_or_more_threads_than_cores_are_refused(
    model: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        carry_out(QuantizeOptions(tmp_path, str(data), name="x", models=tmp_path / "models"))
    with pytest.raises(ConfigError, match="--threads 1000: this machine has"):
        carry_out(QuantizeOptions(model, str(data), models=tmp_path / "models", threads=1000))
    assert not (tmp_path / "models").exists()


def test_versions_of_another_signature_are_another_model(
    model: Path, data: Path, tmp_path: Path
) -> None:
    version = tmp_path / "models/tiny/1"
    version.mkdir(parents=True)
    conv_net(version / "model.onnx", outputs="other")
    with pytest.raises(
        ConfigError, match='requests to its version 1 would fail: no output "other"'
    ):
        quantize(model, data, tmp_path / "models")


def test_a_disk_that_cannot_be_written_is_named(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match="models.*(cannot be created|Not a directory)"):
        quantize(model, data, tmp_path / "models")


@pytest.mark.usefixtures("few")
def test_labels_that_fp32_never_predicts_are_refused(
    model: Path, data: Path, tmp_path: Path
) -> None:
    with np.load(data) as rows:
        np.savez(data, x=rows["x"], labels=rows["labels"] + 100)
    with pytest.raises(ConfigError, match=r"tiny\.onnx .*from 100 to 102, fit none of the"):
        quantize(model, data, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.usefixtures("few")
def test_a_continued_search_measures_nothing_twice(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the models folder is relative, as by default
    measured: list[str] = []
    measure = Search._measure

    def counted(self: Search, recipe: Recipe) -> Candidate:
        if measured and not stopped:
            stopped.append(recipe.name)
            raise KeyboardInterrupt
        measured.append(recipe.name)
        return measure(self, recipe)

    stopped: list[str] = []
    monkeypatch.setattr(Search, "_measure", counted)
    with pytest.raises(KeyboardInterrupt):
        quantize(model, data, Path("models"), target="size", max_drop=1.0)
    report = quantize(model, data, Path("models"), target="size", max_drop=1.0)
    assert measured[:2] == ["static", "weight-only"]
    assert measured.count("static") == 1
    assert {"static", "weight-only"} <= {row["name"] for row in report["candidates"]}


def test_a_model_that_never_answers_times_out(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{SEARCH}.LEAST_PATIENCE", 0.01)
    with pytest.raises(ConfigError, match=r"tiny\.onnx in FP32, on the data: took too long, more"):
        quantize(model, data, tmp_path / "models", budget=0.01)
    assert not (tmp_path / "models").exists()


def test_other_external_weights_start_another_search(model: Path, tmp_path: Path) -> None:
    rows = Rows(((np.zeros((1, 1, 8, 8), np.float32),),))
    (tmp_path / "work").mkdir()
    keys = []
    for scale in (1, 2):
        changed = onnx.load(model)
        for tensor in changed.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor) * np.float32(scale)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        path = tmp_path / str(scale) / "m.onnx"
        path.parent.mkdir()
        onnx.save(changed, path, save_as_external_data=True, location="w", size_threshold=0)
        keys.append(new_work_dir(tmp_path / "work", path, (), {}, Split(rows, rows, rows)).folder)
    first, second = (tmp_path / f"{scale}/m.onnx" for scale in (1, 2))
    assert first.read_bytes() == second.read_bytes()
    assert keys[0] != keys[1]


RECORDED = """
import numpy as np
from service.engine.runtime.session import Session, SessionOptions
from pathlib import Path

def runs():
    session = Session(Path("tiny.onnx"), SessionOptions(1))
    rng = np.random.default_rng(0)
    for song in range(8):
        state = np.zeros((2, 1, 16), np.float32)
        for step in range(10):
            x = rng.standard_normal((1, int(rng.integers(2, 6)), 8)).astype(np.float32)
            scores, after = session.run((x, state, np.ones((), np.float32)))
            yield {"x": x, "state": state, "gain": 1.0, "label": int(scores.argmax())}
            state = after
"""


def test_a_model_with_state_is_quantized_by_runs_and_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = (Recipe("dynamic", Dynamic()), Recipe("static", Static(inputs_only=True)))
    monkeypatch.setattr(f"{SEARCH}.catalogue", lambda kinds, vnni: recipes)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "recorded_runs", raising=False)
    (tmp_path / "recorded_runs.py").write_text(RECORDED)
    model, models = recurrent(tmp_path / "tiny.onnx"), tmp_path / "models"
    report = quantize(model, "recorded_runs:runs", models, target="size", max_drop=1.0)
    assert report["data"]["by_run"]
    assert any("Each set of inputs is one run" in note for note in report["notes"])
    assert report["reference"]["quality"]["metric"] == "accuracy"
    assert report["reference"]["batch_invariant"] is None
    assert report["reference"]["timing"]["rows"] == 1
    assert {row["name"] for row in report["candidates"]} >= {"dynamic", "static"}
    loaded = load(models / "tiny/1", ModelConfig(), 1)
    golden = read_golden(models / "tiny/golden.npz", loaded.signature)
    assert golden is not None
    assert golden.outputs.keys() == {"scores", "next"}
    checks = golden_checks(loaded, golden, ModelConfig().gate, new_control())
    assert checks
    assert all(check.passed for check in checks)


def test_the_run_that_the_model_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "refused_runs", raising=False)
    (tmp_path / "refused_runs.py").write_text(
        "import numpy as np\n"
        "def runs():\n    for i in range(20):\n"
        "        state = np.zeros((2, 3 if i == 7 else 1, 16))\n"
        "        yield {'x': np.ones((1, 2, 8)), 'state': state, 'gain': 1.0}\n"
    )
    message = r'run 7 \("x" \[1, 2, 8\], "state" \[2, 3, 16\], "gain" \[\]\): the model refuses'
    calibrating = {"calibration": "refused_runs:runs", "models": tmp_path / "models"}
    with pytest.raises(ConfigError, match=message):
        quantize(recurrent(tmp_path / "tiny.onnx"), "refused_runs:runs", **calibrating)


@pytest.mark.usefixtures("few")
def test_masked_scores_and_masks_in_the_data_are_accepted(tmp_path: Path) -> None:
    path, rng = tmp_path / "tiny.onnx", np.random.default_rng(0)
    weight = rng.standard_normal((16, 4)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "mask"], ["y"]),
    ]
    save(path, nodes, {"x": ["n", 16], "mask": ["n", 4]}, {"y": ["n", 4]}, {"w": weight})
    mask = np.where(rng.random((40, 4)) < 0.2, -np.inf, 0).astype(np.float32)
    x = rng.standard_normal((40, 16)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, mask=mask)
    models = tmp_path / "models"
    report = quantize(path, tmp_path / "data.npz", models, target="size", max_drop=1.0)
    orjson.loads((models / "tiny/1/report.json").read_bytes())
    assert any('data "mask" holds infinity' in note for note in report["notes"])
    assert report["reference"]["quality"]["score"] == 1
    with np.load(models / "tiny/golden.npz") as golden:
        assert np.isinf(golden["outputs/y"]).any()


@pytest.mark.parametrize(
    "file",
    ["net.onnx", "net/model.onnx", "net/3/model.onnx", "net/3/model.onnx/model.onnx",
     "net/onnx/model.onnx"],
)  # fmt: skip
def test_the_default_name_is_that_of_the_file_or_folder(file: str) -> None:
    assert QuantizeOptions(Path("models", file), "random").model_name == "net"


def test_a_dynamic_model_is_converted_without_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{SEARCH}.per_row", lambda saturates: ROWS_ONLY)
    # Speed is measured, but does not matter here.
    monkeypatch.setattr("service.quantization.search.decide.SLOWEST", 0.0)
    given = tmp_path / "old/1/model.onnx"
    given.parent.mkdir(parents=True)
    onnx.save(network(), tmp_path / "fp32.onnx")
    quantize_dynamic(tmp_path / "fp32.onnx", given)
    np.savez(tmp_path / "rows.npz", x=rows(40))
    models = tmp_path / "models"

    def convert(model: Path | None, **more: object) -> str:
        return carry_out(QuantizeOptions(
            model, str(tmp_path / "rows.npz"), models=models, from_int8=given, metric="cosine",
            threads=1, timing_seconds=0.02, **more,  # type: ignore[arg-type]
        ))  # fmt: skip

    told = convert(None, target="size")
    report = json.loads((models / "old/1/report.json").read_text())
    assert report["decision"]["winner"] == ROWS_ONLY[0].name
    assert [row["name"] for row in report["candidates"]] == [
        "given file model.onnx", ROWS_ONLY[0].name,
    ]  # fmt: skip
    assert "from its 8-bit weights (2 MatMul)" in told
    assert f"answers of {ROWS_ONLY[0].name} against those of model.onnx: cosine" in told
    assert load(models / "old/1", ModelConfig(), 1).plan.mode is BatchingMode.COMBINE
    # With the FP32 source both are compared with that.
    told = convert(tmp_path / "fp32.onnx", target="size", name="both")
    assert "from its own weights" not in told
    assert (models / "both/1/model.onnx").exists()
    # If nothing is better, the existing file stays.
    told = convert(None, target="size", max_drop=0.0, name="none")
    assert f"no version was made: {given} is unchanged" in told
    assert not (models / "none").exists()


def test_a_conversion_requires_one_of_the_two_files(data: Path, tmp_path: Path) -> None:
    options = QuantizeOptions(None, str(data), models=tmp_path / "models", name="it")
    with pytest.raises(
        ConfigError, match="give an FP32 model, or a quantized model with --from-int8"
    ):
        carry_out(options)
    options = QuantizeOptions(None, str(data), models=tmp_path / "models")
    with pytest.raises(ConfigError, match="is not a valid model name"):
        carry_out(options)
