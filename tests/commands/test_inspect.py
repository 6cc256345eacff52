"""``inspect`` finds a model in the same way as the server."""

import asyncio
import json
from pathlib import Path

import pytest

from service.cli import main
from service.engine.repository.context import Context
from service.engine.repository.repository import ModelRepository
from service.engine.storage.quarantine import write_quarantine
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
def test_a_version_is_found_by_model_and_number(
    models: Path, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", asked, "--models", str(models)]) == 0
    assert "FP32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("m/11", "m version 11: there is no model.onnx in the folder of the version"),
        ("m/3", "m/3 is neither a file nor a model or version in"),
        ("m/²", "m has 2, 10, 11"),
        ("nobody", "nobody is neither a file nor a model"),
    ],
)
def test_missing_models_and_versions_are_reported(
    models: Path, asked: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", asked, "--models", str(models)]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pin", "policy", "number"),
    [
        ("", "", 10),  # the newest that is whole
        ("version = 2", "", 2),
        ("version = 11", "", 10),
        ("version = 7", "", 10),  # it is gone
        ("", 'policy = "specific"\nnumbers = [2, 11]', 2),
        ("version = 10", 'policy = "specific"\nnumbers = [2]', 10),
        ("version =", "", 10),
    ],
)
def test_a_name_without_a_number_is_the_version_that_would_serve(
    models: Path, pin: str, policy: str, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if pin:
        (models / "m/serving.toml").write_text(pin)
    (models / "m/model.toml").write_text(f"[versions]\n{policy}")
    assert main(["inspect", "m", "--models", str(models), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["version"]) == ("m", number)

    async def served() -> int | None:
        repository = ModelRepository(models, Context(1, lambda _: None))
        await repository.load_all()
        version = repository.model("m").serving
        await repository.stop()
        return version.number if version else None

    assert asyncio.run(served()) == number


def test_a_policy_that_allows_no_version_is_reported(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "m/model.toml").write_text('[versions]\npolicy = "specific"\nnumbers = [5]')
    assert main(["inspect", "m", "--models", str(models)]) == 2
    assert "m has 2, 10, 11, but [versions] of model.toml allows none" in capsys.readouterr().err


def test_a_quarantined_version_is_skipped(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_quarantine(models / "m", {10: "SIGSEGV"}) == ""
    assert main(["inspect", "m", "--models", str(models)]) == 0
    assert capsys.readouterr().out.startswith("m version 2, model.onnx: FP32")


def test_the_output_of_a_classifier_with_zipmap_is_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(classifiers.model(*classifiers.linear(["cat", "dog"])), tmp_path / "pets")
    assert main(["inspect", "pets", "--models", str(tmp_path)]) == 0
    assert 'output "probabilities" is FP32 [-1, 2], labels cat, dog' in capsys.readouterr().out
