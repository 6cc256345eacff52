"""A version's folder is loaded, or refused with a reason."""

import hashlib
from pathlib import Path
from typing import Any

import onnx
import pytest

from service.config.model import ModelConfig
from service.core.errors import LoadFailed
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import load
from tests.engine import graphs


def loaded(model: onnx.ModelProto, folder: Path, cores: int = 2, **config: Any) -> Loaded:
    return load(graphs.save(model, folder), ModelConfig.model_validate(config), cores)


def test_a_loaded_version_reports_its_file_and_signature(tmp_path: Path) -> None:
    found = loaded(graphs.linear(), tmp_path)
    file = (tmp_path / "1" / "model.onnx").read_bytes()
    assert (found.sha256, found.file_bytes) == (hashlib.sha256(file).hexdigest(), len(file))
    assert found.load_seconds > 0 and found.memory_bytes >= 0
    assert str(found.precision) == "FP32" and found.signature.inputs[0].shape == ("batch", 32)


def test_lengths_of_generated_rows_may_be_configured(tmp_path: Path) -> None:
    loaded(graphs.eights(), tmp_path, probe={"dims": {"sequence": 24}})
    with pytest.raises(LoadFailed, match='names "time"; the axes of the inputs are "batch", "seq'):
        loaded(graphs.eights(), tmp_path, probe={"dims": {"time": 24}})


def test_labels_must_match_an_output_and_its_number_of_classes(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match='the model has no output "z"'):
        loaded(graphs.linear(), tmp_path, outputs={"z": {"labels": ["a"]}})
    with pytest.raises(LoadFailed, match=r'2 labels for output "y", which is FP32 \[-1, 10\]'):
        loaded(graphs.linear(), tmp_path, outputs={"y": {"labels": ["a", "b"]}})


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="there is no model.onnx"):
        load(tmp_path, ModelConfig(), 2)
