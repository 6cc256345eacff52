"""id2label of config.json names the classes of an output of that size; bad files are ignored."""

import json
from pathlib import Path

import pytest

from service.core.tensors import DATATYPES, Dim, Signature, TensorSpec
from service.engine.storage.class_names import class_names
from service.engine.storage.folder import VersionFiles

TWO = {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}
NAMES = ("NEGATIVE", "POSITIVE")
FLOAT = DATATYPES["FP32"]


def signature(**outputs: tuple[Dim, ...]) -> Signature:
    specs = tuple(TensorSpec(name, FLOAT, shape) for name, shape in outputs.items())
    return Signature((TensorSpec("x", FLOAT, ("batch", 2)),), specs)


def labels(folder: Path, config: object, **outputs: tuple[Dim, ...]) -> dict[str, tuple[str, ...]]:
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    files = VersionFiles(folder / "onnx/model.onnx", folder, folder, folder.parent)
    return class_names(files, signature(**outputs))


def test_names_belong_to_logits_or_to_the_only_output(tmp_path: Path) -> None:
    assert labels(tmp_path, TWO, logits=("batch", 2)) == {"logits": NAMES}
    assert labels(tmp_path, TWO, logits=("batch", "classes")) == {"logits": NAMES}
    assert labels(tmp_path, TWO, logits=("batch", 2), state=("batch", 2)) == {"logits": NAMES}
    assert labels(tmp_path, TWO, y=("batch", 2)) == {"y": NAMES}


def test_an_output_of_another_size_or_purpose_has_no_names(tmp_path: Path) -> None:
    assert labels(tmp_path, TWO, logits=("batch", 3)) == {}
    assert labels(tmp_path, TWO, last_hidden_state=("batch", "sequence")) == {}
    assert labels(tmp_path, TWO, a=("batch", 2), b=("batch", 2)) == {}
    assert labels(tmp_path, TWO, logits=()) == {}


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        "[]",
        {},
        {"id2label": None},
        {"id2label": ["a", "b"]},
        {"id2label": {"0": "a", "2": "b"}},
    ],
)
def test_files_without_valid_names_are_ignored(tmp_path: Path, config: object) -> None:
    assert labels(tmp_path, config, logits=("batch", 2)) == {}


def test_a_config_of_the_version_has_priority_over_the_models(tmp_path: Path) -> None:
    version = tmp_path / "m/1"
    version.mkdir(parents=True)
    (tmp_path / "m/config.json").write_text(json.dumps({"id2label": {"0": "old", "1": "older"}}))
    (version / "config.json").write_text(json.dumps(TWO))
    files = VersionFiles(version / "model.onnx", version, tmp_path / "m", tmp_path)
    assert class_names(files, signature(y=("batch", 2))) == {"y": NAMES}
    (version / "config.json").unlink()
    assert class_names(files, signature(y=("batch", 2))) == {"y": ("old", "older")}
