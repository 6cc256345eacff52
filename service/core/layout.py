"""The versions of each model in a repository, and the reasons why other entries are not served.

Pure functions of folder listings: ``model_file`` chooses the file, ``service.engine`` reads disks.
FILE is the model file of its folder, such as model.onnx.

<root>/<model>/<version>/FILE     the version with that number
<root>/<model>/FILE               version 1, unless there is a folder 1
<root>/FILE, <root>/<version>/FILE   the same for the model that ``--name`` names

In the root, ``onnx/FILE`` beside the config.json of a Hugging Face repository is that model too.
Without a config.json, the folder ``onnx`` is a model of that name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.core.model_file import (
    ONNX_FOLDER,
    SETTINGS_FILE,
    Choice,
    Entry,
    Kind,
    choose,
    is_hidden,
    is_model_file,
)
from service.core.names import (
    MODEL_FILE,
    NAME,
    SUFFIX,
    VERSION,
    displayed,
    model_name_for,
    version_for,
)
from service.core.unserved import file_reason, folder_reason, listed

ALLOWED = "ASCII letters, digits, '_', '.' and '-', not beginning with '.' or '-'"
PARTS = frozenset({SETTINGS_FILE, "serving.toml", "quarantine.toml", "golden.npz"})
"""Files that have an effect in a model's folder, beside its versions."""
HUB_FILE = "config.json"
"""A file that every Hugging Face repository has, and that no folder of models has."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version's number and its model file, as a path with ``/`` relative to the model's folder.
    ``problem`` says why the file cannot be used."""

    number: int
    file: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """An entry that is not served: its path under the root, as text; the reason, and what to do."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelLayout:
    """A model's folder. ``reason`` says why it has no version; empty if it has one."""

    versions: tuple[Version, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    reason: str = ""

    def under(self, name: str) -> tuple[PassedOver, ...]:
        """Return the entries that are not served, with paths relative to the root."""
        return tuple(PassedOver(f"{name}/{each.path}", each.reason) for each in self.passed_over)


@dataclass(frozen=True, slots=True)
class RootLayout:
    """The root: the model whose files lie directly in it, and the folders that may be models."""

    own: ModelLayout
    folders: tuple[str, ...]
    passed_over: tuple[PassedOver, ...]


def model_layout(entries: Sequence[Entry], wanted: str = "") -> ModelLayout:
    """Return the versions in a model's folder, and the entries that are not served."""
    folders = {int(entry.name): entry for entry in entries if _is_version(entry)}
    rest = [entry for entry in entries if not (_is_version(entry) or is_hidden(entry.name))]
    versions: list[Version] = []
    passed: list[PassedOver] = []
    for number, folder in folders.items():
        version, others = _version(number, folder, wanted)
        versions.append(version)
        passed += others
    choice = choose(rest, wanted)
    # Several files of which none is chosen are a broken version only if there is no other version.
    flat = 1 not in folders and bool(choice.file or (choice.problem and not folders))
    if flat:
        versions.append(Version(1, choice.file, choice.problem))
        passed += _beside("", choice) if choice.file else ()
    for entry in rest:
        is_chosen = flat and choice.file.partition("/")[0] == entry.name
        if not is_chosen and (reason := _reason(entry, flat, frozenset(folders))):
            passed.append(PassedOver(displayed(entry.name), reason))
    versions.sort(key=lambda version: version.number)
    reason = "" if versions else _why_no_version(entries)
    return ModelLayout(tuple(versions), tuple(sorted(passed, key=_by_path)), reason)


def root_layout(entries: Sequence[Entry], wanted: str = "") -> RootLayout:
    """Return the models in the root of a repository, and the entries that are not served."""
    visible = [entry for entry in entries if not is_hidden(entry.name)]
    hub = any(entry.name == HUB_FILE and entry.kind is Kind.FILE for entry in visible)
    mine = [each for each in visible if _is_of_root(each) or (hub and each.name == ONNX_FOLDER)]
    own = model_layout(mine, wanted)
    if not own.versions or (not own.versions[0].file and not wanted):
        own = _no_model(own, mine)
    folders: list[str] = []
    passed: list[PassedOver] = []
    for entry in visible:
        if entry in mine:
            continue
        if entry.kind is Kind.FOLDER and NAME.fullmatch(entry.name):
            folders.append(entry.name)
        else:
            passed.append(PassedOver(displayed(entry.name), _reason_in_root(entry)))
    return RootLayout(own, tuple(sorted(folders)), tuple(passed))


def hidden_by(name: str, own: ModelLayout) -> tuple[PassedOver, ...]:
    """Return the versions of the model in the root, which a folder of the same name hides."""
    reason = (
        f'the folder "{name}" is the model of that name: rename one, move the file into the '
        "folder, or give the name of this one with --name"
    )
    return tuple(PassedOver(displayed(version.file), reason) for version in own.versions)


def _is_version(entry: Entry) -> bool:
    return bool(VERSION.fullmatch(entry.name)) and entry.kind is Kind.FOLDER


def _version(number: int, folder: Entry, wanted: str) -> tuple[Version, tuple[PassedOver, ...]]:
    choice = choose(folder.inside, wanted)
    file = f"{number}/{choice.file or MODEL_FILE}"
    if folder.problem:
        return Version(number, file, f"the folder of the version {folder.problem}"), ()
    if choice.file:
        return Version(number, file, choice.problem), _beside(f"{number}/", choice)
    none = f"there is no {MODEL_FILE} in the folder of the version"
    holds = f", {_contents(folder.inside)}" if folder.inside else ""
    return Version(number, file, choice.problem or none + holds), ()


def _beside(prefix: str, choice: Choice) -> tuple[PassedOver, ...]:
    """Return entries for the .onnx files that were not chosen."""
    return tuple(
        PassedOver(
            displayed(prefix + name),
            f"{displayed(choice.file)} is served instead; file in {SETTINGS_FILE} chooses another",
        )
        for name in choice.others
    )


def _reason(entry: Entry, flat: bool, taken: frozenset[int]) -> str:
    """Return why an entry of a model's folder is not served, for entries that are neither versions
    nor hidden. Empty for files that belong to a model or are known to be harmless. ``taken`` are
    the numbers of the version folders."""
    if is_model_file(entry.name):
        if flat:
            return ""
        first = "the folder 1 is version 1" if 1 in taken else "there are versions beside it"
        return f"{first}: move it to {max(taken) + 1}/{MODEL_FILE} to serve it"
    if entry.problem:
        return entry.problem
    if entry.kind is Kind.FOLDER:
        models = [each.name for each in entry.inside if is_model_file(each.name)]
        return folder_reason(entry.name, models, flat, taken)
    return file_reason(entry.name, flat)


def _why_no_version(entries: Sequence[Entry]) -> str:
    """Return why a folder has no version. Empty if it holds hidden entries only: then an upload or
    a search is in progress."""
    if entries and all(is_hidden(entry.name) for entry in entries):
        return ""
    models = sorted(entry.name for entry in entries if _may_be_model(entry))
    if models:
        return f"it holds models ({listed(models)}): give this folder as --models, or move them up"
    expected = "version folder and no .onnx file, as in 1/model.onnx or model.onnx"
    return f"it has no {expected}; {_contents(entries)}"


def _may_be_model(entry: Entry) -> bool:
    parts = [each for each in entry.inside if _is_version(each) or is_model_file(each.name)]
    return bool(NAME.fullmatch(entry.name) and version_for(entry.name) is None and parts)


def _contents(entries: Sequence[Entry]) -> str:
    names = sorted(entry.name for entry in entries if not is_hidden(entry.name))
    if not names:
        return "it is empty"
    files = sorted(entry.name for entry in entries if entry.kind is Kind.FILE)
    formats = [reason for name in files if (reason := file_reason(name, flat=False))]
    return f"it holds {listed(names)}" + (f" ({formats[0]})" if formats else "")


def _is_of_root(entry: Entry) -> bool:
    """Return whether an entry of the root is part of the model whose files lie directly there."""
    if entry.kind is not Kind.FOLDER:
        return True
    if entry.name == MODEL_FILE or VERSION.fullmatch(entry.name):
        return bool(choose(entry.inside).file) and not any(map(_is_version, entry.inside))
    return False


def _no_model(own: ModelLayout, mine: Sequence[Entry]) -> ModelLayout:
    """Return a layout without versions, with the reasons why the entries of the root are not
    served as one model."""
    lines = {each.path: each for each in own.passed_over}
    for entry in mine:
        if is_model_file(entry.name):
            place = model_name_for(entry.name[: -len(SUFFIX)]) or "name"
            reason = f"one of several .onnx files here: move it to {place}/{MODEL_FILE}"
            lines[displayed(entry.name)] = PassedOver(displayed(entry.name), reason)
        elif entry.name in PARTS:
            reason = "it belongs in the folder of a model, where it is read"
            lines[entry.name] = PassedOver(entry.name, reason)
    return ModelLayout((), tuple(sorted(lines.values(), key=_by_path)))


def _reason_in_root(entry: Entry) -> str:
    if entry.problem:
        return entry.problem
    better = model_name_for(entry.name)
    todo = f"rename it to {better}" if better else "rename it"
    return f"it cannot be the name of a model ({ALLOWED}): {todo}"


def _by_path(each: PassedOver) -> str:
    return each.path
