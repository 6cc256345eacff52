"""Reads JSON files of a Hugging Face repository. Blocks."""

import json
from pathlib import Path
from typing import Any

from service.core.errors import FileUnreadable, LoadFailed
from service.engine.host.paths import leads_outside
from service.files import read_small

JSON_BYTES = 16 * 2**20
"""The limit for a JSON file. The labels of 100,000 classes take a third of it. A
tokenizer_config.json may list many added tokens."""


def hub_json(home: Path, root: Path, name: str) -> Any:
    """Return the content of a JSON file in a folder, or None if there is no such file. ``root`` is
    the repository, which no link may lead out of.

    Raises:
        LoadFailed: the file is not JSON, is too large, or leads out of the repository.
    """
    path = home / name
    if leads_outside(root, path):
        raise LoadFailed(f"{name} leads outside the model repository")
    try:
        text = read_small(path, JSON_BYTES)
        return None if text is None else json.loads(text)
    except (FileUnreadable, ValueError, RecursionError) as error:
        raise LoadFailed(f"{name} is not readable: {error!s:.200}") from None


def hub_object(home: Path, root: Path, name: str) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if there is no such file.

    Raises:
        LoadFailed: see ``hub_json``; or the content is not an object.
    """
    found = hub_json(home, root, name)
    if found is not None and not isinstance(found, dict):
        raise LoadFailed(f"{name} is not a JSON object")
    return found or {}
