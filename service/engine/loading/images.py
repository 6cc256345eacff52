"""Reads whether and how a version accepts images. Pillow is imported only if it does."""

from service.config.model import ImageConfig
from service.core.errors import LoadFailed
from service.core.images import ImageSettings
from service.core.names import PREPROCESSOR_FILE
from service.core.tensors import Signature
from service.engine.images.hub_config import read_hub_config
from service.engine.images.settings import image_settings
from service.engine.storage.folder import VersionFiles


def read_images(
    files: VersionFiles, config: ImageConfig | None, signature: Signature
) -> tuple[ImageSettings | None, str]:
    """Return the settings for images, or the reason why the version accepts no images although it
    has a preprocessor_config.json.

    Raises:
        LoadFailed: model.toml has settings for images, and the version cannot accept images.
    """
    try:
        hub = read_hub_config(files.home, files.root)
        if config is None and hub is None:
            return None, ""
        settings = image_settings(config or ImageConfig(), hub, signature)
        _require_pillow()
    except LoadFailed as error:
        if config is not None:
            raise
        return None, f"takes no images, in spite of {PREPROCESSOR_FILE}: {error}"
    return settings, ""


def _require_pillow() -> None:
    try:
        import service.engine.images.pixels  # noqa: F401 - now rather than with the first image
    except ModuleNotFoundError as error:
        raise LoadFailed(
            f"images need a package: {error.name} is not installed; pip install 'quantserve[image]'"
        ) from None
