"""Reads the config.pbtxt of a model's folder as settings of model.toml.

Files that are valid for Triton are accepted. Fields without an equivalent setting are ignored and
named in a note, so that the operator knows which settings have no effect.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.config.values import first_problem
from service.core.errors import ConfigError
from service.triton.configuration import ModelConfiguration
from service.triton.text import parse

FILE = "config.pbtxt"
MAX_BYTES = 2**20
REPEATED = frozenset({
    "dims", "execution_accelerators", "input", "instance_group", "metric_tags", "output",
    "parameters", "preferred_batch_size", "versions",
})  # fmt: skip
UNSUPPORTED = frozenset({"extra_forbidden", "literal_error"})
"""Kinds of errors for fields, and values of an enumeration, without an equivalent setting."""


@dataclass(frozen=True, slots=True)
class TritonSettings:
    """Sections of model.toml. ``note`` names the ignored fields; ``problem`` says why the file
    cannot be used."""

    sections: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    problem: str = ""


def read_pbtxt(folder: Path, model: str) -> TritonSettings:
    """Read the settings in a model's folder; they are empty if there is no such file. Blocks."""
    path = folder / FILE
    try:
        document = parse(_text(path), REPEATED)
        configuration, left_out = _configured(document)
        labels = _labels(document, folder)
    except FileNotFoundError:
        return TritonSettings()
    except ConfigError as error:
        return TritonSettings(problem=f"{FILE}: {error}")
    except (OSError, ValueError) as error:
        return TritonSettings(problem=f"{FILE} cannot be read: {error}")
    if configuration.name not in ("", model):
        named = f'the name is "{configuration.name:.80}", the folder\'s "{model}"'
        return TritonSettings(problem=f"{FILE}: {named}: rename one of them")
    note = f"ignored, not supported here: {', '.join(left_out)}" if left_out else ""
    return TritonSettings(configuration.settings() | labels, note)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ConfigError(f"it has more than {MAX_BYTES} bytes")
    return content.decode()


def _configured(document: dict[str, Any]) -> tuple[ModelConfiguration, list[str]]:
    """Return the configuration, and the names of the ignored fields.

    Raises:
        ConfigError: a field has a value that is not valid for Triton either.
    """
    given = _as_json(document)
    left_out: list[str] = []
    groups = given.get("instance_group")
    if isinstance(groups, list) and len(groups) > 1:
        given["instance_group"] = groups[:1]
        left_out.append(f"instance_group but the first of {len(groups)}")
    while True:
        try:
            return ModelConfiguration.model_validate(given), left_out
        except ValidationError as error:
            places = [
                each["loc"]
                for each in error.errors(include_url=False)
                if each["type"] in UNSUPPORTED
            ]
            if not places:
                key, _, message, value = first_problem(error.errors(include_url=False))
                raise ConfigError(f"{key}: {message}, got {value!r:.80}") from None
            for place in places:
                left_out.append(_remove(given, [part for part in place if part != "[key]"]))


def _as_json(document: dict[str, Any]) -> dict[str, Any]:
    """Convert maps to the form of JSON, and remove the fields that are read elsewhere."""
    given = dict(document)
    pairs = given.get("parameters", [])
    if pairs and all([isinstance(each, dict) and "key" in each for each in pairs]):
        given["parameters"] = {str(each["key"]): each.get("value", {}) for each in pairs}
    for side in ("input", "output"):
        if isinstance(tensors := given.get(side), list):
            given[side] = [_plain(tensor) for tensor in tensors]
    return given


def _plain(tensor: Any) -> Any:
    if not isinstance(tensor, dict):
        return tensor
    return {name: value for name, value in tensor.items() if name != "label_filename"}


def _remove(document: Any, place: list[int | str]) -> str:
    """Remove a field. Return its name, and its value if that is a text."""
    *path, last = place
    for part in path:
        document = document[part]
    value = document.pop(last)
    shown = f" {value}" if isinstance(value, str) else ""
    return ".".join(str(part) for part in place) + shown


def _labels(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the section ``[outputs]``: labels from the files that outputs name.

    Raises:
        ConfigError: a file does not exist, or is not in the model's folder.
    """
    found: dict[str, Any] = {}
    for output in document.get("output", []):
        if not isinstance(output, dict) or not output.get("label_filename"):
            continue
        name = str(output["label_filename"])
        path = (folder / name).resolve()
        what = f'output "{output.get("name", "")}": label_filename "{name:.80}"'
        if not path.is_relative_to(folder.resolve()):
            raise ConfigError(f"{what} is outside the model's folder")
        try:
            text = _text(path)
        except FileNotFoundError:
            raise ConfigError(f"{what}: there is no such file") from None
        except ConfigError as error:
            raise ConfigError(f"{what}: {error}") from None
        found[str(output.get("name", ""))] = {"labels": text.splitlines()}
    return {"outputs": found} if found else {}
