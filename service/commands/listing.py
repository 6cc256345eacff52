"""Lists models and versions, of a running server or of a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from service.client import Client, Document, Refused
from service.core.errors import ConfigError, LoadFailed
from service.core.lifecycle import State
from service.core.versions import candidates
from service.engine.onnx_file.summary import summarise
from service.engine.storage.folder import ModelFolder
from service.engine.storage.root import Root

SERVING = "serving_version"
"""A parameter of a model's metadata; older servers do not have it."""


class Listed(NamedTuple):
    """A version of a model. ``version`` is None for a model without versions, such as an unreadable
    one.

    In a folder, where nothing is loaded, ``state`` is "", ``serving`` is True if a server would
    serve the version, and ``batching`` is the setting of model.toml. ``precision`` and ``batching``
    are "" if unknown.
    """

    name: str
    version: int | None
    state: str = ""
    serving: bool = False
    precision: str = ""
    batching: str = ""
    reason: str = ""


def of_server(client: Client) -> list[Listed]:
    """Return the versions in a server's index, with the metadata of those that are READY.

    Raises:
        Refused, Unreachable
    """
    answer = client.post("/v2/repository/index", {})
    entries: list[Document] = answer["answer"]
    serving = {
        name: _serving(client, name)
        for name in {each["name"] for each in entries if each["state"] == State.READY}
    }
    return [_of_entry(client, each, serving.get(each["name"], "")) for each in entries]


def _of_entry(client: Client, entry: Document, serving: str) -> Listed:
    name, number, reason = entry["name"], entry.get("version", ""), entry["reason"]
    version = int(number) if number else None
    if version is None or entry["state"] != State.READY:
        return Listed(name, version, entry["state"], reason=reason)
    try:
        known = client.get(f"{_path(name)}/versions/{version}")["parameters"]
    except Refused as refused:  # unloaded in the meantime
        return Listed(name, version, entry["state"], reason=str(refused))
    return Listed(
        name,
        version,
        entry["state"],
        number == serving,
        known.get("precision", ""),
        known.get("batching", ""),
        reason,
    )


def _serving(client: Client, name: str) -> str:
    """Return the version that answers requests without a version; "" if the server does not state
    it."""
    try:
        return str(client.get(_path(name))["parameters"].get(SERVING, ""))
    except Refused:
        return ""


def _path(name: str) -> str:
    return f"/v2/models/{quote(name, safe='')}"


def of_folder(models: Path) -> list[Listed]:
    """Return the versions in a models folder.

    Raises:
        ConfigError: it cannot be read.
    """
    if not models.is_dir():
        raise ConfigError(f"models folder {models} is not a readable folder")
    contents = Root.of(models).read({})
    found = [each for name in sorted(contents.models) for each in _of_model(contents.models[name])]
    return found + [Listed(each.path, None, reason=each.reason) for each in contents.passed_over]


def _of_model(model: ModelFolder) -> Iterator[Listed]:
    if model.problem or not model.numbers:
        yield Listed(model.name, None, reason=model.problem or model.reason or "it has no version")
    pin = model.pin.version if model.pin else None
    able = [n for n in model.numbers if not _problem(model, n)]
    first = next(iter(candidates(able, pin, model.policy)), None)
    for number in model.numbers:
        problem, precision = _problem(model, number), ""
        try:
            if not problem:
                precision = str(summarise(model.of_version(number).model).precision)
        except LoadFailed as error:
            problem = str(error)
        serving = number == first and not (problem or model.problem)
        batching = "" if problem else model.config.batching.combine
        yield Listed(model.name, number, "", serving, precision, batching, problem)


def _problem(model: ModelFolder, number: int) -> str:
    return model.of_version(number).problem or model.quarantine.get(number, "")
