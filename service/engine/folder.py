"""What one model's folder says: its versions, its settings, and which version is pinned. Blocks.

models/<name>/<version>/model.onnx    version is a positive integer; anything else is passed over
models/<name>/model.toml              optional settings
models/<name>/golden.npz              optional rows that every version must reproduce
models/<name>/serving.toml            the pinned version, written by a swap
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.config import ModelConfig, load_model_config, load_pin
from service.core.errors import ConfigError
from service.core.versions import Found, Pin, PolicyKind, VersionPolicy
from service.engine.paths import NAME, VERSION, leads_outside
from service.engine.quarantine import read_quarantine

MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
REPORT_FILE = "report.json"
SETTINGS_FILE = "model.toml"
PIN_FILE = "serving.toml"
Override = Mapping[str, Any]
"""Settings that a client has laid over those of model.toml: its tables, as TOML would give them."""
PIN_COMMENT = (
    "# The version that serves. Delete this file to serve the highest one at the next start."
)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model's folder at one moment.

    ``files`` maps each version to a digest of its files' names, sizes and times. ``problem`` says
    why nothing in the folder can be loaded, ``pin_problem`` why the pin cannot be read;
    ``quarantine`` has the versions that crashed the server, with the reason.
    """

    path: Path
    config: ModelConfig = ModelConfig()
    problem: str = ""
    pin: Pin | None = None
    pin_problem: str = ""
    files: Mapping[int, str] = field(default_factory=dict)
    golden: str = ""
    quarantine: Mapping[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.path.name

    @property
    def numbers(self) -> tuple[int, ...]:
        """The versions on disk, lowest first."""
        return tuple(sorted(self.files))

    @property
    def policy(self) -> VersionPolicy:
        """Which versions to load."""
        versions = self.config.versions
        kind = PolicyKind(versions.policy)
        return VersionPolicy(kind, versions.count, frozenset(versions.numbers))

    def revision(self, number: int) -> str:
        """What changes when the version is to be loaded again: its files or its settings."""
        settings = self.config.model_dump_json(exclude={"versions", "gate"})
        return _digest(f"{self.files.get(number)} {settings}")

    def found(self, before: "ModelFolder | None" = None) -> tuple[Found, ...]:
        """The versions, to decide on. Those whose files have changed since ``before`` still grow;
        without it all count as complete.
        """
        judged_by = f"{self.golden} {self.config.gate.model_dump_json()} {self.pin}"
        versions = []
        for number in self.numbers:
            revision = self.revision(number)
            settled = before is None or before.files.get(number) == self.files[number]
            versions.append(Found(number, revision, _digest(revision + judged_by), settled))
        return tuple(versions)


def read_models(root: Path, overrides: Mapping[str, Override]) -> dict[str, ModelFolder]:
    """Every model in the repository, by name. ``overrides`` hold settings laid over model.toml's.

    Raises:
        ConfigError: the folder cannot be read.
    """
    try:
        names = sorted(entry.name for entry in root.iterdir() if NAME.fullmatch(entry.name))
    except OSError as error:
        raise ConfigError(f"models folder {root}: {error.strerror}") from None
    found = (read_model(root / name, overrides.get(name)) for name in names)
    return {model.name: model for model in found if model is not None}


def read_model(path: Path, override: Override | None = None) -> ModelFolder | None:
    """A model's folder as it is now; None where it is none: no version and no settings."""
    if leads_outside(path.parent, path):
        return ModelFolder(path, problem="its folder leads outside the model repository")
    try:
        files = {int(each.name): _files(each) for each in path.iterdir() if _is_version(each)}
    except OSError as error:
        return None if not path.is_dir() else ModelFolder(path, problem=f"folder: {error.strerror}")
    if not files and not (path / SETTINGS_FILE).exists():
        return None
    config, problem = ModelConfig(), ""
    try:
        config = load_model_config(path / SETTINGS_FILE, override)
    except ConfigError as error:
        problem = str(error)
    pin, pin_problem = None, ""
    try:
        given = load_pin(path / PIN_FILE)
        pin = Pin(**given.model_dump()) if given else None
    except ConfigError as error:
        pin_problem = str(error)
    golden, quarantine = _stat(path / GOLDEN_FILE), read_quarantine(path)
    return ModelFolder(path, config, problem, pin, pin_problem, files, golden, quarantine)


def write_pin(path: Path, pin: Pin | None) -> str:
    """Store the pin of the model in a folder, or remove it; gives why that was not possible, else
    nothing. Another process reads the old one or the new one, never half of one.
    """
    target = path / PIN_FILE
    draft = path / f".{PIN_FILE}-{secrets.token_hex(8)}"
    try:
        if pin is None:
            target.unlink(missing_ok=True)
            return ""
        with draft.open("x") as file:
            file.write(_pin_text(pin))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        return f"{PIN_FILE} cannot be written: {error.strerror}"
    return ""


def golden_file(version: Path) -> Path:
    """The golden set of a version: its own, or its model's."""
    own = version / GOLDEN_FILE
    return own if own.exists() else version.parent / GOLDEN_FILE


def _pin_text(pin: Pin) -> str:
    lines = [PIN_COMMENT, f"version = {pin.version}"]
    if pin.previous is not None:
        lines.append(f"previous = {pin.previous}")
    lines += [f"{key} = true" for key in ("forced", "signature_change") if getattr(pin, key)]
    if pin.v1_outputs:
        lines.append(f"v1_outputs = {json.dumps(pin.v1_outputs, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _is_version(path: Path) -> bool:
    return bool(VERSION.fullmatch(path.name)) and path.is_dir()


def _files(version: Path) -> str:
    """A digest of what is in a version's folder, the report apart: that is not loaded."""
    return _digest("\n".join(sorted(_listing(version))))


def _listing(version: Path) -> Iterator[str]:
    for folder, _, names in os.walk(version):
        for name in names:
            path = Path(folder, name)
            if name != REPORT_FILE:
                yield f"{path.relative_to(version)} {_stat(path)}"


def _stat(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
