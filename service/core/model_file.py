"""Chooses the model file of a folder: the file that ``file`` in model.toml names, else model.onnx,
else the only .onnx file there. Pure.

A folder with such a name stands for the model file in it. The file may also be in a subfolder
``onnx``, as in Hugging Face repositories.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from service.core.names import MODEL_FILE, SUFFIX, displayed
from service.core.unserved import listed

ONNX_FOLDER = "onnx"
SETTINGS_FILE = "model.toml"
SYSTEM = frozenset({
    "lost+found", "__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN",
    "System Volume Information", "Thumbs.db", "desktop.ini",
})  # fmt: skip
"""Entries that file systems and desktops create in a folder by themselves."""


class Kind(StrEnum):
    """The kind of an entry of a folder. Links are followed."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a folder. ``inside`` lists the entries of a subfolder, as deep as the rule needs
    them. ``problem`` says why the entry cannot be used, for example a broken link."""

    name: str
    kind: Kind = Kind.FILE
    inside: tuple["Entry", ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The model file of a folder; ``others`` are .onnx entries beside it that were not chosen."""

    file: str = ""
    problem: str = ""
    others: tuple[str, ...] = ()


def is_hidden(name: str) -> bool:
    """Return whether an entry is never meant to be served: ``.git``, ``..data``, ``lost+found``."""
    return name.startswith(".") or name in SYSTEM


def is_model_file(name: str) -> bool:
    """Return whether a name is that of an ONNX model."""
    return not is_hidden(name) and name.lower().endswith(SUFFIX)


def choose(entries: Sequence[Entry], wanted: str = "") -> Choice:
    """Choose the model file among the entries of a folder; ``wanted`` is ``file`` of model.toml.

    A model.onnx that is the only .onnx file is chosen for any ``wanted``, because uploads and
    ``quantize`` write that name.
    """
    models = {entry.name: entry for entry in entries if is_model_file(entry.name)}
    if wanted and (found := _at(entries, wanted)) is not None:
        return _taken(found, wanted, models)
    if not models:
        return _in_onnx_folder(entries, wanted)
    name = MODEL_FILE if MODEL_FILE in models else min(models)
    has = listed(sorted(models))
    if wanted and list(models) != [MODEL_FILE]:
        return Choice("", f'{SETTINGS_FILE} says file = "{wanted}", which is not here: {has}')
    if name != MODEL_FILE and len(models) > 1:
        what = f"several .onnx files, none named {MODEL_FILE}: {has}; name one in {SETTINGS_FILE}"
        return Choice("", f'{what}, such as file = "{displayed(name)}"')
    return _taken(models[name], name, models)


def _at(entries: Sequence[Entry], path: str) -> Entry | None:
    first, _, rest = path.partition("/")
    found = next((entry for entry in entries if entry.name == first), None)
    return _at(found.inside, rest) if found is not None and rest else found


def _taken(entry: Entry, path: str, models: dict[str, Entry]) -> Choice:
    others = tuple(sorted(models.keys() - {path.partition("/")[0]}))
    if entry.problem:
        return Choice(path, f"{displayed(path)} {entry.problem}", others)
    if entry.kind is Kind.FILE:
        return Choice(path, "", others)
    inner = choose(entry.inside)
    if not inner.file:
        why = inner.problem or "there is no .onnx file in it"
        return Choice(path, f"{displayed(path)} is a folder, and {why}", others)
    return Choice(f"{path}/{inner.file}", inner.problem, others)


def _in_onnx_folder(entries: Sequence[Entry], wanted: str) -> Choice:
    folder = _at(entries, ONNX_FOLDER)
    inner = choose(folder.inside, wanted) if folder is not None else Choice()
    if not inner.file:
        return replace(inner, problem=inner.problem and f"{ONNX_FOLDER}/: {inner.problem}")
    within = [f"{ONNX_FOLDER}/{name}" for name in (inner.file, *inner.others)]
    return Choice(within[0], inner.problem, tuple(within[1:]))
