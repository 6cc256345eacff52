"""The forms of a language model, and the errors for models that cannot be converted."""

import json
from pathlib import Path

import pytest

from service.core.errors import ConfigError
from service.quantization.language import source
from service.quantization.language.source import Form, check_packages, form_of
from tests.quantization.language import hugging_face


def test_the_files_determine_the_form(tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.mkdir()
    (built / "genai_config.json").write_text("{}")
    (built / "config.json").write_text(json.dumps(hugging_face.CONFIG))
    file = tmp_path / "model.bin"
    file.write_bytes(b"GGUF\x03\0\0\0")
    assert form_of(built) is Form.BUILT
    assert form_of(file) is Form.GGUF
    assert form_of(hugging_face.write(tmp_path / "tiny")) is Form.HUGGING_FACE


def test_files_may_be_links(tmp_path: Path) -> None:
    """As in Hugging Face's cache."""
    there, folder = hugging_face.write(tmp_path / "blobs"), tmp_path / "snapshot"
    folder.mkdir()
    for file in there.iterdir():
        (folder / file.name).symlink_to(Path("../blobs", file.name))
    assert form_of(folder) is Form.HUGGING_FACE


@pytest.mark.parametrize("text", ["", "{}", '{"model_type": 3}'])
def test_other_files_are_no_language_models(tmp_path: Path, text: str) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"\x08\x07")
    assert form_of(file) is None
    assert form_of(tmp_path / "nowhere") is None
    assert form_of(tmp_path) is None
    if text:
        (tmp_path / "config.json").write_text(text)
        assert form_of(tmp_path) is None


def test_sources_that_cannot_be_converted_are_refused(tmp_path: Path) -> None:
    folder = hugging_face.write(tmp_path / "a", quantization_config={"quant_method": "awq"})
    with pytest.raises(ConfigError, match=r"is already quantized \(awq\); give the original model"):
        form_of(folder)
    folder = hugging_face.write(tmp_path / "b")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"no weights in \*\.safetensors; save it with"):
        form_of(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"b: config\.json is not readable"):
        form_of(folder)


def test_missing_packages_are_reported_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"onnxruntime_genai", "transformers", "accelerate"}
    monkeypatch.setattr(source, "find_spec", lambda name: name if name in there else None)
    with pytest.raises(
        ConfigError, match=r"a Hugging Face folder needs torch: pip install 'quants"
    ):
        check_packages(Path("x"), Form.HUGGING_FACE)
    with pytest.raises(ConfigError, match=r"GGUF file needs torch, gguf: .*\[llm-build\]'"):
        check_packages(Path("x"), Form.GGUF)
    check_packages(Path("x"), Form.BUILT)
