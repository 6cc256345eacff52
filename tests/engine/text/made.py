"""Models that accept texts, loaded in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.config.model import ModelConfig
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import load
from service.engine.text.model import TextModel
from tests import tiny_texts


def loaded(
    folder: Path,
    write: Callable[..., Path] = tiny_texts.embedder,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Loaded:
    """Load a version of a tiny model, with settings in the form of model.toml."""
    write(folder / "tiny/1", **options)
    return load(folder / "tiny/1", ModelConfig.model_validate(settings or {}), 1)


def text_model(folder: Path, write: Callable[..., Path], **options: Any) -> TextModel:
    """Return the text model of a tiny model."""
    found = loaded(folder, write, **options).text
    assert found is not None
    return found
