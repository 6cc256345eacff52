"""A model is found as the server would find it."""

from pathlib import Path

import pytest

from service.cli import main
from tests.engine import classifiers
from tests.engine.graphs import save
from tests.repositories import put, scale


@pytest.fixture
def models(tmp_path: Path) -> Path:
    put(tmp_path, "m", 2, scale(2))
    put(tmp_path, "m", 10, scale(10)).joinpath("model.onnx").rename(tmp_path / "m/10/small.onnx")
    (tmp_path / "m/²").mkdir()
    (tmp_path / "m/11").mkdir()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat/model.onnx").write_bytes(scale(1))
    return tmp_path


@pytest.mark.parametrize("asked", ["m/2", "m/10", "flat", "flat/1"])
def test_a_version_is_found(models: Path, asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", asked, "--models", str(models)]) == 0
    assert "FP32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("m", "m version 11: there is no model.onnx in the folder of the version"),
        ("m/3", "m/3 is neither a file nor a model or version in"),
        ("m/²", "m has 2, 10, 11"),
        ("nobody", "nobody is neither a file nor a model"),
    ],
)
def test_what_is_not_there_is_told(
    models: Path, asked: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", asked, "--models", str(models)]) == 2
    assert why in capsys.readouterr().err


def test_a_classifier_with_zipmap_is_told_what_it_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(classifiers.model(*classifiers.linear(["cat", "dog"])), tmp_path / "pets")
    assert main(["inspect", "pets", "--models", str(tmp_path)]) == 0
    assert 'output "probabilities" is FP32 [-1, 2], labels cat, dog' in capsys.readouterr().out
