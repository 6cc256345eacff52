"""Reads one model's folder: its versions, its settings, and the pinned version. Blocks.

models/<name>/<version>/model.onnx    version is a positive integer; ``service.core.layout`` has
models/<name>/model.onnx              the complete rule where a version may lie
models/<name>/model.toml              optional settings
models/<name>/golden.npz              optional rows that every version must reproduce
models/<name>/serving.toml            the pinned version, written by a swap
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.config.model import ModelConfig, load_model_config, load_pin
from service.core.errors import ConfigError
from service.core.layout import ModelLayout, PassedOver, Version, model_layout, root_layout
from service.core.model_file import SETTINGS_FILE, is_model_file
from service.core.names import (
    GOLDEN_FILE,
    LANGUAGE_FILE,
    PREPROCESSOR_FILE,
    TOKENIZER_FILE,
    VERSION,
)
from service.core.unserved import TRITON
from service.core.versions import Found, Pin, PolicyKind, VersionPolicy, candidates
from service.engine.host.paths import leads_outside
from service.engine.storage.digests import digest, digest_of_files, stat_of
from service.engine.storage.listing import list_model, list_root
from service.engine.storage.pin_file import PIN_FILE
from service.engine.storage.quarantine import read_quarantine

Override = Mapping[str, Any]
"""Settings of a client that override those of model.toml: its tables, as parsed from TOML."""


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """The paths of a version's files.

    ``model`` is the .onnx file; ``problem`` says why it cannot be used. ``home`` holds the report
    and may hold a golden set: it is the version's folder, or the model's folder if the version has
    none. ``shared`` is the model's folder. No link may lead out of ``root``, the repository.
    """

    model: Path
    home: Path
    shared: Path
    root: Path
    problem: str = ""

    @property
    def golden(self) -> Path:
        """The path of the golden set: the version's, else the model's."""
        own = self.home / GOLDEN_FILE
        return own if os.path.lexists(own) else self.shared / GOLDEN_FILE


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model's folder at one moment.

    ``own`` is the name of the model if ``path`` is the repository's root, else "". ``files`` maps
    each version to a digest of its files' names, sizes and times, ``versions`` to their paths.
    ``problem`` says why nothing in the folder can be loaded, ``pin_problem`` why the pin cannot be
    read, ``reason`` why there is no version. ``passed_over`` lists the entries that are not served,
    with paths relative to the root. ``quarantine`` maps each version that crashed the server to the
    reason.
    """

    path: Path
    own: str = ""
    config: ModelConfig = ModelConfig()
    problem: str = ""
    pin: Pin | None = None
    pin_problem: str = ""
    files: Mapping[int, str] = field(default_factory=dict)
    golden: str = ""
    versions: Mapping[int, VersionFiles] = field(default_factory=dict)
    passed_over: tuple[PassedOver, ...] = ()
    reason: str = ""
    has_settings: bool = False
    quarantine: Mapping[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.own or self.path.name

    @property
    def is_model(self) -> bool:
        """True if the folder is a model: it has a version or settings, or a problem."""
        return bool(self.files or self.has_settings or self.problem)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The versions on disk, lowest first."""
        return tuple(sorted(self.files))

    @property
    def policy(self) -> VersionPolicy:
        """The policy for which versions to load."""
        versions = self.config.versions
        kind = PolicyKind(versions.policy)
        return VersionPolicy(kind, versions.count, frozenset(versions.numbers))

    @property
    def to_serve(self) -> int | None:
        """The version that a server tries first at its start. None if there is no version, or if
        the policy allows none."""
        pin = self.pin.version if self.pin else None
        order = candidates(self.numbers, pin, self.policy)
        fit = (n for n in order if not self.of_version(n).problem and n not in self.quarantine)
        return next(fit, order[0] if order else None)

    def of_version(self, number: int) -> VersionFiles:
        """Return the files of a version. For a missing version, ``problem`` says so."""
        if number in self.versions:
            return self.versions[number]
        root = self.path if self.own else self.path.parent
        return VersionFiles(self.path, self.path, self.path, root, "it is not on disk any more")

    def revision(self, number: int) -> str:
        """Return a digest of the version's files and settings. If it changes, the version is loaded
        again."""
        settings = self.config.model_dump_json(exclude={"versions", "gate"})
        return digest(f"{self.files.get(number)} {settings}")

    def found(self, before: "ModelFolder | None" = None) -> tuple[Found, ...]:
        """Return the versions for ``next_action``. Those whose files have changed since ``before``
        are still being written; with None all count as complete.
        """
        judged_by = f"{self.golden} {self.config.gate.model_dump_json()} {self.pin}"
        versions = []
        for number in self.numbers:
            revision = self.revision(number)
            settled = before is None or before.files.get(number) == self.files[number]
            versions.append(Found(number, revision, digest(revision + judged_by), settled))
        return tuple(versions)


def read_model(path: Path, override: Override | None = None) -> ModelFolder | None:
    """Read a model's folder; return None if it is no model: no version and no settings."""
    if not path.is_dir():
        return None
    found = read_folder(path, override)
    return found if found.is_model else None


def read_folder(path: Path, override: Override | None = None, own: str = "") -> ModelFolder:
    """Read a folder that may be a model's. ``own`` is for the root of the repository: the name of
    the model whose file lies directly in it.

    An error in reading is stored as the folder's ``problem``, and not raised.
    """
    try:
        return _read(path, override, own)
    except OSError as error:
        return ModelFolder(path, own, problem=f"its folder cannot be read: {error.strerror}")
    except Exception as error:  # one folder must not keep the others from being served
        return ModelFolder(path, own, problem=f"its folder cannot be read: {error!r:.200}")


def _read(path: Path, override: Override | None, own: str) -> ModelFolder:
    root = path if own else path.parent
    if leads_outside(root, path):
        return ModelFolder(path, own, problem="its folder leads outside the model repository")
    config, problem = ModelConfig(), ""
    passed: tuple[PassedOver, ...] = ()
    try:
        under, passed = _triton_settings(path, own)
        config = load_model_config(path / SETTINGS_FILE, override, under)
    except ConfigError as error:
        problem = str(error)
    pin, pin_problem = _read_pin(path)
    layout = _layout(path, root, config.file)
    has_settings = os.path.lexists(path / SETTINGS_FILE)
    if own:  # in the root, settings count only if they prevent a model file from being read
        has_settings = bool(problem) and any(is_model_file(e.path) for e in layout.passed_over)
    return ModelFolder(
        path,
        own,
        config,
        problem if has_settings or layout.versions else "",
        pin,
        pin_problem,
        {each.number: digest_of_files(path, each, root) for each in layout.versions},
        stat_of(path / GOLDEN_FILE),
        {each.number: _places(path, each, root) for each in layout.versions},
        (layout.passed_over if own else layout.under(path.name))
        + (passed if layout.versions else ()),
        layout.reason,
        has_settings,
        read_quarantine(path),
    )


def _triton_settings(path: Path, own: str) -> tuple[Mapping[str, Any], tuple[PassedOver, ...]]:
    """Return the settings in a model's config.pbtxt (Triton), and a note on those that have no
    counterpart here.

    Raises:
        ConfigError: the file cannot be used.
    """
    if not os.path.lexists(path / TRITON):
        return {}, ()
    # Imported only for such a folder: the parser takes memory.
    from service.triton.pbtxt import read_pbtxt

    found = read_pbtxt(path, own or path.name)
    if found.problem:
        raise ConfigError(found.problem)
    place = TRITON if own else f"{path.name}/{TRITON}"
    return found.sections, (PassedOver(place, found.note),) if found.note else ()


def _read_pin(path: Path) -> tuple[Pin | None, str]:
    """Return the pin, and the reason if it cannot be read."""
    try:
        given = load_pin(path / PIN_FILE)
    except ConfigError as error:
        return None, str(error)
    return Pin(**given.model_dump()) if given else None, ""


def _layout(path: Path, root: Path, wanted: str) -> ModelLayout:
    if path == root:
        return root_layout(list_root(path, wanted), wanted).own
    return model_layout(list_model(path, root, wanted), wanted)


def _places(path: Path, version: Version, root: Path) -> VersionFiles:
    first, _, rest = version.file.partition("/")
    home = path / first if rest and VERSION.fullmatch(first) else path
    return VersionFiles(path / version.file, home, path, root, version.problem)


def is_language_model(home: Path) -> bool:
    """Return True if a version's folder has a language model."""
    return (home / LANGUAGE_FILE).is_file()


def has_preprocessor(home: Path) -> bool:
    """Return True if a version's folder has a file that may have settings for images."""
    return os.path.lexists(home / PREPROCESSOR_FILE)


def has_tokenizer(home: Path) -> bool:
    """Return True if a version's folder has a tokenizer for texts."""
    return os.path.lexists(home / TOKENIZER_FILE)
