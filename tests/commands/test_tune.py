"""A model is measured, and model.toml accepts the printed settings."""

import json
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from service.cli import main
from service.config.model import ModelConfig
from service.engine.host.resources import usable_cores
from service.engine.loading.tuning_file import with_tuning
from service.engine.storage.folder import read_model
from tests.repositories import golden, put, scale


@pytest.fixture
def models(tmp_path: Path) -> Path:
    golden(put(tmp_path, "m", 1, scale(2)), 2)
    return tmp_path


def test_a_model_is_measured(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(models.rglob("*"))
    asked = ["tune", "m", "--models", str(models), "--seconds", "0.3", "--cores", "2", "--json"]
    assert main(asked) == 0
    told = json.loads(capsys.readouterr().out)
    forms = {(each["instances"], each["threads"]) for each in told["measured"]}
    assert forms == {(1, 1), (2, 1), (1, 2)}
    assert all(each["rows_per_second"] > 0 for each in told["measured"])
    assert all(each["deviation"] == 0 for each in told["measured"])
    ModelConfig.model_validate(tomllib.loads(told["settings"]))
    assert sorted(models.rglob("*")) == before


def test_the_table_names_the_default_and_the_choice(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["tune", "m", "--models", str(models), "--seconds", "0.1", "--target", "latency"]
    assert main([*asked, "--p99", "0.000001"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("INSTANCES  THREADS  ROWS")
    assert out.count("default  ") and "chosen: " in out
    assert "no candidate has a p99 of 1e-06 ms" in out
    assert "compare both with quantserve bench" in out  # so small a model runs in the event loop


def test_models_that_run_row_by_row_are_measured_row_by_row(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "m/model.toml").write_text('[batching]\ncombine = "never"\n')
    assert main(["tune", "m", "--models", str(models), "--seconds", "0.1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["rows"] for each in told["measured"]} == {1}


def test_the_choice_is_saved_and_used(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (models / "m/model.toml").write_text("[instances]\ncount = 1\n")  # so that runs are in threads
    asked = ["tune", "m", "--models", str(models), "--seconds", "0.1"]
    assert main([*asked, "--dry-run"]) == 0
    assert not (models / "m/.tuning").exists() and "saved" not in capsys.readouterr().out
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    [path] = (models / "m/.tuning").iterdir()
    assert told["saved"].startswith(f"saved: {path}; ")
    model = read_model(models / "m")
    assert model is not None
    _, note = with_tuning(model.of_version(1), ModelConfig(), usable_cores())
    assert note.startswith(f"tuned: {told['chosen']}, for throughput")


def test_the_curves_are_drawn(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["tune", "m", "--models", str(models), "--seconds", "0.1", "--dry-run", "--plot"]
    assert main([*asked, str(tmp_path / "m.svg")]) == 0
    drawn = ElementTree.parse(tmp_path / "m.svg").getroot()
    assert len(drawn.findall("{*}polyline")) >= 1
    capsys.readouterr()
    assert main([*asked, str(tmp_path / "none" / "m.svg")]) == 2
    assert "--plot" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_reported(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "m/model.toml").write_text("[instances]\ncount = 1\n")
    (models / "m/.tuning").write_text("in the way")
    assert main(["tune", "m", "--models", str(models), "--seconds", "0.1"]) == 0
    assert "not saved: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["nobody"], "there is no model nobody in"),
        (["../m"], "there is no model ../m in"),
        (["m", "--seconds", "0"], "expected a number above 0"),
        (["m", "--seconds", "nan"], "expected a number above 0"),
        (["m", "--p99", "-1"], "expected a number above 0"),
        (["m", "--cores", "0"], "expected a whole number from 1 to 256"),
    ],
)
def test_models_that_cannot_be_measured_are_reported(
    models: Path, given: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["tune", *given, "--models", str(models)])
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    assert why in capsys.readouterr().err


def test_a_model_that_cannot_run_is_reported(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(models / "m/1/golden.npz", **{"inputs/z": np.zeros((2, 2), np.float32)})
    assert main(["tune", "m", "--models", str(models), "--seconds", "0.1"]) == 2
    assert capsys.readouterr().err.startswith("quantserve: m: ")
