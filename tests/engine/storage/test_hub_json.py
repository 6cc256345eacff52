from pathlib import Path

import pytest

from service.core.errors import LoadFailed
from service.engine.storage.hub_json import JSON_BYTES, hub_json, hub_object


def test_a_missing_file_is_none_or_an_empty_object(tmp_path: Path) -> None:
    assert hub_json(tmp_path, tmp_path, "modules.json") is None
    assert hub_object(tmp_path, tmp_path, "config.json") == {}


def test_the_content_of_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text('[{"type": "Pooling"}]')
    (tmp_path / "config.json").write_text('{"pad_token_id": 0}')
    assert hub_json(tmp_path, tmp_path, "modules.json") == [{"type": "Pooling"}]
    assert hub_object(tmp_path, tmp_path, "config.json") == {"pad_token_id": 0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "config.json is not a JSON object"),
        ("{", "config.json is not readable: "),
        ("[" * 100_000, "config.json is not readable: "),
        (" " * (JSON_BYTES + 1), "config.json is not readable: "),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(LoadFailed, match=reason):
        hub_object(tmp_path, tmp_path, "config.json")


def test_links_out_of_the_repository_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    (tmp_path / "config.json").write_text("{}")
    (root / "config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(LoadFailed, match="leads outside the model repository"):
        hub_object(root, root, "config.json")
