"""Tuned settings are used only for the tuned file, machine and cores; problems are no errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.config.model import ModelConfig
from service.engine.loading.tuning_file import FOLDER, tuning_path, with_tuning, write_tuning
from service.engine.storage.folder import VersionFiles, read_model
from tests.opened import opened
from tests.repositories import put, scale

CORES = 2
TOLD = {"chosen": "3 instances x 1 thread, for throughput", "made": "2026-01-31"}
SECTIONS = {
    "instances": {"count": 3, "threads": 1},
    "batching": {"preferred_batch_size": 4},
    "session": {"kernels": "exact"},
}


@pytest.fixture
def files(tmp_path: Path) -> VersionFiles:
    put(tmp_path, "m", 1, scale(2))
    model = read_model(tmp_path / "m")
    assert model is not None
    return model.of_version(1)


def config(**sections: Any) -> ModelConfig:
    return ModelConfig.model_validate(sections)


def test_a_model_without_tuning_has_no_note(files: VersionFiles) -> None:
    assert with_tuning(files, config(), CORES) == (config(), "")


def test_tuned_values_are_used_for_missing_settings(files: VersionFiles) -> None:
    write_tuning(tuning_path(files, CORES), SECTIONS, TOLD)
    found, note = with_tuning(files, config(batching={"timeout": 9}), CORES)
    assert (found.instances.count, found.instances.threads) == (3, 1)
    assert (found.batching.preferred_batch_size, found.batching.timeout) == (4, 9)
    assert found.session.kernels == "exact"
    assert note == "tuned: 3 instances x 1 thread, for throughput, 2026-01-31"


@pytest.mark.parametrize(
    ("section", "by_hand"),
    [
        ("instances", {"threads": 2}),
        ("instances", {"count": 1}),
        ("batching", {"preferred_batch_size": 7}),
        ("session", {"kernels": "auto"}),
    ],
)
def test_settings_of_model_toml_have_priority(
    files: VersionFiles, section: str, by_hand: dict[str, Any]
) -> None:
    write_tuning(tuning_path(files, CORES), SECTIONS, TOLD)
    mine = config(**{section: by_hand})
    found, note = with_tuning(files, mine, CORES)
    assert getattr(found, section) == getattr(mine, section)
    assert note.endswith(f"; model.toml sets {section} itself")
    others = {"instances", "batching", "session"} - {section}
    assert all(getattr(found, other) != getattr(mine, other) for other in others)


def test_tuning_of_other_cores_or_another_file_is_not_used(files: VersionFiles) -> None:
    write_tuning(tuning_path(files, CORES), SECTIONS, TOLD)
    found, note = with_tuning(files, config(), CORES + 1)
    assert found == config() and "on this machine with 3 cores: quantserve tune m" in note
    files.model.write_bytes(scale(3))
    assert with_tuning(files, config(), CORES)[0] == config()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        ("[" * 100_000, "recursion"),
        (" " * (2**20 + 1), "bytes"),
        (json.dumps({"format": 2, "settings": {}}), "its format is 2, expected 1"),
        (json.dumps({"format": 1}), "it has no 'settings'"),
        (json.dumps({"format": 1, "settings": {"gate": {"force": True}}}), "not a setting"),
        (json.dumps({"format": 1, "settings": {"instances": {"count": 0}}}), "instances.count"),
        (json.dumps({"format": 1, "settings": {"session": {"custom_ops": "x.so"}}}), "not a set"),
    ],
)
def test_an_invalid_tuning_file_has_a_note(files: VersionFiles, content: str, why: str) -> None:
    path = tuning_path(files, CORES)
    path.parent.mkdir()
    path.write_text(content)
    found, note = with_tuning(files, config(), CORES)
    assert found == config()
    assert note.startswith(f"{FOLDER}/{path.name} is not used: ") and why in note


def test_an_unreadable_model_file_is_not_an_error_of_tuning(files: VersionFiles) -> None:
    write_tuning(tuning_path(files, CORES), SECTIONS, TOLD)
    files.model.unlink()
    assert with_tuning(files, config(), CORES) == (config(), "")


@pytest.mark.parametrize("tuned", [True, False])
async def test_versions_run_with_tuned_settings(files: VersionFiles, tuned: bool) -> None:
    write_tuning(tuning_path(files, 1), {"instances": {"count": 3, "threads": 1}}, TOLD)
    async with opened(files.root, tuned=tuned) as it:
        loaded = it.repository.version("m").loaded
        assert loaded is not None
        assert (loaded.plan.instances == 3) is tuned
        assert any("tuned: 3 instances" in note for note in loaded.notes) is tuned


def test_the_tuning_file_is_not_part_of_a_version(files: VersionFiles) -> None:
    before = read_model(files.shared)
    write_tuning(tuning_path(files, CORES), SECTIONS, TOLD)
    after = read_model(files.shared)
    assert before is not None and after is not None
    assert before.revision(1) == after.revision(1) and after.passed_over == before.passed_over
