"""The choice of ``quantserve tune`` for a model file on a machine, stored beside the model. Blocks.

``models/<name>/.tuning/<digest>.json``: one file for each model file, kind of machine, number of
cores, release of ONNX Runtime and its execution providers. The folder is hidden, so that it belongs
to no version.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from pydantic import ValidationError

from service.config.model import ModelConfig
from service.config.values import first_problem
from service.core.errors import FileUnreadable, LoadFailed
from service.engine.cpu.kernels import Kernels
from service.engine.cpu.machine import read_machine
from service.engine.cpu.profile import Profile
from service.engine.cpu.providers import beside_cpu
from service.engine.onnx_file.opening import open_model
from service.engine.storage.folder import VersionFiles, is_language_model
from service.files import read_small, replace_text

FOLDER = ".tuning"
FORMAT = 1
MOST_BYTES = 2**20
BLOCK = 2**20
UNUSABLE = (
    FileUnreadable, ValueError, KeyError, TypeError, AttributeError, RecursionError,
)  # fmt: skip
Sections = Mapping[str, Mapping[str, Any]]
"""Settings by section, in the form of model.toml; see ``SETTINGS``."""


SETTINGS = {
    "instances": ("count", "threads", "lone_threads"),
    "batching": ("preferred_batch_size",),
    "session": ("kernels", "provider"),
}
"""The tuned settings, by section. If model.toml sets one of a section, no setting of the section is
tuned, since they depend on each other: for example, instances and threads."""


def tuning_path(files: VersionFiles, cores: int) -> Path:
    """Return the path of the tuning file for a version's model file and this machine. The file may
    not exist.

    Raises:
        LoadFailed, OSError: the model file cannot be read.
    """
    machine = Profile.of(read_machine(), Kernels.DEFAULT).values()
    model = hashlib.sha256()
    with open_model(files.model) as file:
        while block := file.read(BLOCK):
            model.update(block)
    key = {
        "model": model.hexdigest(),
        "machine": machine,
        "cores": cores,
        "ort": onnxruntime.__version__,
    }
    if others := beside_cpu():
        key["providers"] = [each.value for each in others]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return files.shared / FOLDER / f"{digest[:16]}.json"


def write_tuning(path: Path, sections: Sections, told: Mapping[str, Any]) -> None:
    """Replace the file atomically. ``told`` is for people: the measurements, and ``chosen`` and
    ``made``, which a server repeats in its notes.

    Raises:
        OSError: the file cannot be written; an existing file is unchanged.
    """
    path.parent.mkdir(exist_ok=True)
    replace_text(path, json.dumps({**told, "format": FORMAT, "settings": sections}, indent=2))


def with_tuning(files: VersionFiles, config: ModelConfig, cores: int) -> tuple[ModelConfig, str]:
    """Return the settings of a model, with tuned values for those that model.toml leaves open; and
    a note for the operator, "" if the model was never tuned.

    A file that cannot be used causes a note, not an error.
    """
    tuned_before = os.path.isdir(files.shared / FOLDER)  # noqa: PTH112 - never raises
    if not tuned_before or is_language_model(files.home):
        return config, ""
    try:
        path = tuning_path(files, cores)
    except (LoadFailed, OSError):  # the load will report it
        return config, ""
    try:
        text = read_small(path, MOST_BYTES)
        if text is None:
            return config, (
                f"{FOLDER} has no file for this model file on this machine with {cores} cores:"
                f" quantserve tune {files.shared.name}"
            )
        found = json.loads(text)
        tuned, chosen = _read(found), f"{found['chosen']!s:.200}, {found['made']!s:.40}"
    except UNUSABLE as error:
        return config, f"{FOLDER}/{path.name} is not used: {_reason(error)}"
    applied, by_hand = _applied(config, tuned)
    note = f"tuned: {chosen}"
    if by_hand:
        note += f"; model.toml sets {', '.join(by_hand)} itself"
    return applied, note


def _read(found: Any) -> ModelConfig:
    """Return the settings in a tuning file, as a model.toml without other settings.

    Raises:
        ValueError, KeyError, TypeError: the content is no tuning file, or has another format.
    """
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {found['format']!r:.40}, expected {FORMAT}")
    for section, values in found["settings"].items():
        for key in values:
            if key not in SETTINGS.get(section, ()):
                raise ValueError(f"{section!s:.40}.{key!s:.40} is not a setting that is tuned")
    return ModelConfig.model_validate(found["settings"])


def _applied(config: ModelConfig, tuned: ModelConfig) -> tuple[ModelConfig, list[str]]:
    """Return the settings with the tuned ones applied, and the sections that model.toml sets."""
    changed: dict[str, Any] = {}
    by_hand: list[str] = []
    for section, keys in SETTINGS.items():
        mine, its = getattr(config, section), getattr(tuned, section)
        wanted = {key: getattr(its, key) for key in keys if key in its.model_fields_set}
        if not wanted:
            continue
        if mine.model_fields_set.intersection(keys):
            by_hand.append(section)
        else:
            changed[section] = mine.model_copy(update=wanted)
    return config.model_copy(update=changed), by_hand


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, ValidationError):
        problem = first_problem(error.errors(include_url=False))
        return f"{problem.key}: {problem.message}"
    return f"{error!s:.200}"
