"""The folder on disk and what of it is loaded.

models/<name>/<version>/model.onnx    version is a positive integer; the highest one is served
"""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

from service.config import load_model_config
from service.core.errors import ConfigError, LoadFailed, NotFound, NotReady
from service.core.events import Observer
from service.engine.loading import load
from service.engine.model import Model, ModelVersion

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class ModelRepository:
    """Models by name. Everything but the loading itself happens on the event loop."""

    def __init__(self, folder: Path, cores: int, observe: Observer) -> None:
        self.folder = folder
        self._cores = cores
        self._observe = observe
        self.models: dict[str, Model] = {}
        self.ready = False

    def __iter__(self) -> Iterator[Model]:
        return iter(sorted(self.models.values(), key=lambda model: model.name))

    def model(self, name: str) -> Model:
        """A model by its name.

        Raises:
            NotFound: there is none.
        """
        found = self.models.get(name)
        if found is None:
            if not self.ready and (self.folder / name).is_dir():
                raise NotReady(f'model "{name}" is not loaded yet')
            has = ", ".join(f'"{other}"' for other in sorted(self.models)) or "none"
            raise NotFound(f'there is no model "{name}"; this server has {has}')
        return found

    def version(self, name: str, number: int | None = None) -> ModelVersion:
        """A version by name and number; see ``Model.version``."""
        return self.model(name).version(number)

    def scan(self) -> list[ModelVersion]:
        """Read the folder; returns the versions to load.

        Raises:
            ConfigError: the folder cannot be read.
        """
        try:
            folders = sorted(entry for entry in self.folder.iterdir() if entry.is_dir())
        except OSError as error:
            raise ConfigError(f"models folder {self.folder}: {error.strerror}") from None
        found = (self._scan_model(folder) for folder in folders if NAME.fullmatch(folder.name))
        return [version for version in found if version is not None]

    def _scan_model(self, folder: Path) -> ModelVersion | None:
        numbers = tuple(
            sorted(
                int(entry.name)
                for entry in folder.iterdir()
                if re.fullmatch(r"[1-9]\d{0,17}", entry.name) and entry.is_dir()
            )
        )
        if not numbers and not (folder / "model.toml").exists():
            return None
        model = Model(folder.name, load_model_config(folder / "absent"), on_disk=numbers)
        self.models[folder.name] = model
        try:
            model.config = load_model_config(folder / "model.toml")
        except ConfigError as error:
            model.reason = str(error)
            return None
        if not numbers:
            model.reason = "it has no version folder"
            return None
        latest = numbers[-1]
        version = ModelVersion(
            folder.name, latest, folder / str(latest), model.config, self._observe
        )
        model.versions[latest] = version
        return version

    async def load_all(self) -> None:
        """Load and warm up what the folder holds; what fails is UNAVAILABLE with its reason."""
        for version in self.scan():
            try:
                loaded = await asyncio.to_thread(load, version.folder, version.config, self._cores)
            except LoadFailed as error:
                version.fail(str(error))
            except Exception as error:
                version.fail(f"{type(error).__name__}: {error}")
            else:
                version.start(loaded)
        self.ready = True

    async def stop(self) -> None:
        """Answer what was admitted by every model."""
        self.ready = False
        for model in self:
            for version in model.versions.values():
                if version.batcher is not None:
                    await version.stop()
