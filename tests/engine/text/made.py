"""Models that take texts, loaded in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.config.model import ModelConfig
from service.engine.loading.loader import Loaded, load
from service.engine.text.model import TextModel
from tests import tiny_texts


def loaded(
    folder: Path,
    write: Callable[..., Path] = tiny_texts.embedder,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Loaded:
    """A version of a tiny model, with settings as model.toml has them."""
    write(folder / "tiny/1", **options)
    return load(folder / "tiny/1", ModelConfig.model_validate(settings or {}), 1)


def text_model(folder: Path, write: Callable[..., Path], **options: Any) -> TextModel:
    """What it takes and gives in text."""
    found = loaded(folder, write, **options).text
    assert found is not None
    return found
