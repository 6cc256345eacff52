"""Reads the root of a model repository: its models, and the entries that are not served. Blocks."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.core.errors import ConfigError, Conflict
from service.core.layout import PassedOver, RootLayout, hidden_by, root_layout
from service.core.names import MODEL_FILE, NAME
from service.core.selection import ALL, Selection
from service.core.unserved import NOT_A_VERSION
from service.engine.storage.folder import ModelFolder, Override, read_folder
from service.engine.storage.listing import list_root

FALLBACK = "model"
NO_FILE = (
    "--name is for a model whose file lies in the models folder itself, and there is no such file:"
    f" expected {MODEL_FILE} there"
)


@dataclass(frozen=True, slots=True)
class Contents:
    """The content of the root at one moment: models by name, and entries that are not served.

    ``others``: True if there are folders of models that are not selected.
    """

    models: Mapping[str, ModelFolder]
    passed_over: tuple[PassedOver, ...]
    others: bool = False


@dataclass(frozen=True, slots=True)
class Root:
    """A repository's folder, and the ``name`` of the model whose file lies directly in it.

    ``asked``: the name was given by the operator, so a missing model is reported. Folders of models
    that are not ``selected`` are ignored.
    """

    path: Path
    name: str
    asked: bool = False
    selected: Selection = ALL

    @classmethod
    def of(cls, path: Path, name: str | None = None, selected: Selection = ALL) -> "Root":
        """Create the root of a folder. ``name`` defaults to the folder's name, or to ``model`` if
        that is not a valid name."""
        own = name or path.resolve().name
        return cls(path, own if NAME.fullmatch(own) else FALLBACK, bool(name), selected)

    def read(self, overrides: Mapping[str, Override]) -> Contents:
        """Read every model. ``overrides`` has settings that override those of model.toml, by model.

        Raises:
            ConfigError: the folder cannot be read.
        """
        own, layout = self._own(overrides.get(self.name))
        models: dict[str, ModelFolder] = {}
        passed = [*layout.passed_over, *own.passed_over]
        for name in layout.folders:
            if name not in self.selected:
                continue
            found = read_folder(self.path / name, overrides.get(name))
            if found.is_model:
                models[name] = found
            else:
                passed += _of_no_model(name, found)
        same = models.get(self.name)
        if own.files and same is not None and same.files:
            passed += hidden_by(self.name, layout.own)
        elif own.is_model:
            models[self.name] = own
            if same is not None:
                what = f'it has no version, and the model "{self.name}" lies outside of it'
                passed.append(PassedOver(self.name, f"{what}: move its file here"))
        elif self.asked and same is None and not any(each.path == self.name for each in passed):
            passed.append(PassedOver(self.name, NO_FILE))
        passed = [each for each in passed if each.path.partition("/")[0] in self.selected]
        others = any(name not in self.selected for name in layout.folders)
        return Contents(models, tuple(sorted(passed, key=lambda each: each.path)), others)

    def read_one(self, name: str, override: Override | None = None) -> ModelFolder | None:
        """Read the model of a name; return None if there is no such model."""
        if name not in self.selected:
            return None
        try:
            own, layout = self._own(override if name == self.name else None)
        except ConfigError as error:
            return ModelFolder(self.path / name, problem=str(error)) if name == self.name else None
        found = None
        if name in layout.folders:
            found = read_folder(self.path / name, override)
        if name == self.name and own.is_model and not (found and found.files):
            return own
        return found if found is not None and found.is_model else None

    def check_new_version(self, name: str) -> None:
        """Check that a version may be added to a model.

        Raises:
            Conflict: the model lies directly in the root, without a folder for versions; or its
                name is taken by an entry that is not a folder.
        """
        place = self.path / name
        if os.path.lexists(place) and not os.path.isdir(place):  # noqa: PTH112 - never raises
            raise Conflict(
                f'model "{name}" cannot get a version: its name is taken in the models folder by '
                "something that is not a folder; remove it, or choose another name"
            )
        found = self.read_one(name)
        if found is not None and found.own:
            raise Conflict(
                f'model "{name}" lies in the models folder itself and cannot get another version: '
                f"move its file to {name}/1/model.onnx first, or choose another name"
            )

    def _own(self, override: Override | None) -> tuple[ModelFolder, RootLayout]:
        """Read the model that lies directly in the root, and the layout of the root.

        Raises:
            ConfigError: the folder cannot be read.
        """
        own = ModelFolder(self.path, self.name)
        if self.name in self.selected:
            own = read_folder(self.path, override, self.name)
        try:
            return own, root_layout(list_root(self.path, own.config.file), own.config.file)
        except OSError as error:
            raise ConfigError(f"models folder {self.path}: {error.strerror}") from None


def _of_no_model(name: str, found: ModelFolder) -> Iterator[PassedOver]:
    """Yield a line for a folder that is no model, and lines for entries that look like parts of a
    model."""
    if found.reason:
        yield PassedOver(name, found.reason)
    for each in found.passed_over:
        if each.reason not in found.reason and each.reason != NOT_A_VERSION:
            yield each
