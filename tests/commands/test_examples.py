"""The shipped models are copied into a folder completely, once, and beside existing models."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.cli import main
from service.commands.examples import run
from tests.inprocess import ROOT


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file() and not each.name.startswith(".") and each.name != "serving.toml"
    }


def shipped(*names: str) -> dict[str, bytes]:
    every = files(ROOT / "models")
    return {path: data for path, data in every.items() if path.split("/")[0] in names}


def test_the_examples_are_the_shipped_models(tmp_path: Path) -> None:
    folder = tmp_path / "made/models"
    assert main(["examples", str(folder)]) == 0
    assert files(folder) == shipped("digits", "diabetes")


def test_existing_models_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "digits").mkdir()
    assert main(["examples", str(tmp_path)]) == 0
    assert f"{tmp_path}/digits: already exists" in capsys.readouterr().out
    assert files(tmp_path) == shipped("diabetes")


def test_a_new_volume_is_filled_once(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()  # as on every new ext4
    assert main(["examples", str(tmp_path), "--once"]) == 0
    assert files(tmp_path) == shipped("digits", "diabetes")
    (tmp_path / "digits").rename(tmp_path / ".deleted")
    assert main(["examples", str(tmp_path), "--once"]) == 0
    assert not (tmp_path / "digits").exists(), "somebody deleted it"


def test_a_volume_with_other_models_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert main(["examples", str(tmp_path), "--once"]) == 0
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


def test_an_interrupted_copy_is_repeated(tmp_path: Path) -> None:
    """A process killed at the second model leaves one model, and a hidden part of the next."""
    assert main(["examples", str(tmp_path)]) == 0
    old, young = tmp_path / ".examples-old", tmp_path / ".examples-young"
    (tmp_path / "digits").rename(old)
    young.mkdir()
    os.utime(old, times=(time.time() - 7200,) * 2)
    assert main(["examples", str(tmp_path), "--once"]) == 0
    assert files(tmp_path) == shipped("digits", "diabetes")
    assert young.exists() and not old.exists()


def test_fp32_models_are_copied_with_their_rows(tmp_path: Path) -> None:
    assert main(["examples", "--fp32", str(tmp_path)]) == 0
    assert files(tmp_path) == files(ROOT / "scripts/examples/fp32")


def test_a_folder_that_cannot_be_created_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert main(["examples", str(file / "models")]) == 2
    assert f"cannot copy the examples: {file}" in capsys.readouterr().err


def test_replicas_fill_a_volume_at_the_same_time(tmp_path: Path) -> None:
    """Every replica succeeds, and no other files are left."""
    flags = {"folder": tmp_path, "once": True, "fp32": False}
    with ThreadPoolExecutor(8) as pods:
        assert list(pods.map(run, [flags] * 8)) == [0] * 8
    assert files(tmp_path) == shipped("digits", "diabetes")
    assert {each.name for each in tmp_path.iterdir()} == {"digits", "diabetes", ".examples"}
