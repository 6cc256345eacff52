"""The files of a language model; folders that are not valid language models."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from service.config.model import ModelConfig
from service.core.errors import LoadFailed
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import least_cache, load
from service.engine.storage.folder import read_model
from tests.engine.generation import tiny_llama

ONE_TOKEN = 2 * tiny_llama.LAYERS * tiny_llama.KV_HEADS * tiny_llama.SIZE * 4


def loaded(version: Path, cores: int = 2, **given: Any) -> Loaded:
    return load(version, ModelConfig.model_validate(given), cores)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return tiny_llama.write(tmp_path / "models/tiny/1")


def test_the_minimum_size_of_a_cache(version: Path) -> None:
    model = read_model(version.parent)
    assert model is not None
    files = model.of_version(1)
    assert least_cache(files, ModelConfig()) == 8 * 128 * ONE_TOKEN
    given = ModelConfig.model_validate({"generation": {"slots": 2, "context": 10}})
    assert least_cache(files, given) == 2 * 10 * ONE_TOKEN
    (version / "genai_config.json").write_text("{")
    assert least_cache(files, given) == 0


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda v: (v / "tokenizer.json").unlink(), "there is no tokenizer.json beside"),
        (lambda v: (v / "genai_config.json").write_text("{}"), "genai_config.json: model: "),
        (lambda v: (v / "chat_template.jinja").write_text("{% if"), "chat template is not valid"),
        (
            lambda v: (v / "genai_config.json").write_text(
                json.dumps(tiny_llama.config(vocab_size=100))
            ),
            "tokenizer.json has 512 tokens, and the model 100",
        ),
        (
            lambda v: (
                (v / "chat_template.jinja").unlink()
                or (v / "chat_template.jinja").symlink_to("/etc/hostname")
            ),
            "chat_template.jinja leads outside the model repository",
        ),
    ],
)
def test_missing_or_wrong_files_are_named_in_the_error(version: Path, spoil: Any, why: str) -> None:
    spoil(version)
    with pytest.raises(LoadFailed, match=why):
        loaded(version)


def test_a_context_longer_than_the_models_is_refused(version: Path) -> None:
    with pytest.raises(LoadFailed, match="context = 129, and the model has 128"):
        loaded(version, generation={"context": 129})


def test_an_execution_provider_is_refused(version: Path) -> None:
    with pytest.raises(LoadFailed, match='a language model runs on "cpu" only'):
        loaded(version, session={"provider": "openvino"})


def test_missing_packages_are_named_with_the_install_command(
    version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tokenizer", "chat_template"):
        monkeypatch.delitem(sys.modules, f"service.engine.generation.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(LoadFailed, match=r"is not installed; pip install 'quantserve\[llm\]'"):
        loaded(version)
