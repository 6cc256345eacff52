"""Reads preprocessor_config.json, as Hugging Face's image processors write it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.core.errors import LoadFailed
from service.core.images import Resample, Resize
from service.core.names import PREPROCESSOR_FILE
from service.engine.storage.hub_json import hub_object

FILTERS: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's number, which the file contains."""
OF_IMAGES = ("image_mean", "do_resize", "do_center_crop", "image_processor_type")
"""Keys that distinguish the file of an image model from that of an audio model."""
SMALL_EDGE = 384
"""For a smaller edge, ``crop_pct`` scales images up before they are cropped."""


@dataclass(frozen=True, slots=True)
class HubImages:
    """The settings in the file; None for missing ones. ``edges`` belong to ``resize``: (shorter,
    longest or 0), or (height, width). ``crop`` is (height, width). ``scale`` is 1 if values stay
    from 0 to 255."""

    resize: Resize
    edges: tuple[int, int]
    crop: tuple[int, int] | None
    resample: Resample
    scale: float
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    bgr: bool


def read_hub_config(home: Path, root: Path) -> HubImages | None:
    """Read the settings in the file of a folder; None if there is no file, or it is not for images.
    ``root`` is the repository; links that leave it are refused.

    Raises:
        LoadFailed: the file cannot be read, or needs a step that is not supported.
    """
    found = hub_object(home, root, PREPROCESSOR_FILE)
    if not any(key in found for key in OF_IMAGES):
        return None
    if found.get("do_pad"):
        raise LoadFailed(f"{PREPROCESSOR_FILE} has do_pad, which is not supported")
    resize, edges, crop = _sides(found)
    normalised = found.get("do_normalize", True)
    number = found.get("resample", 2)
    if type(number) is not int or not 0 <= number < len(FILTERS):
        raise LoadFailed(f"{PREPROCESSOR_FILE} has resample {number!r:.40}, expected 0 to 5")
    factor = found.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float):
        raise LoadFailed(f"{PREPROCESSOR_FILE} has rescale_factor {factor!r:.40}, not a number")
    return HubImages(
        resize,
        edges,
        crop,
        FILTERS[number],
        float(factor) if found.get("do_rescale", True) else 1.0,
        _values(found, "image_mean") if normalised else None,
        _values(found, "image_std") if normalised else None,
        bool(found.get("do_flip_channel_order")),
    )


def _sides(found: Mapping[str, Any]) -> tuple[Resize, tuple[int, int], tuple[int, int] | None]:
    crop = None
    if found.get("do_center_crop"):
        crop = _both(found, "crop_size")
    if not found.get("do_resize", True):
        return "none", (0, 0), crop
    size = found.get("size")
    if type(size) is int:
        # A number without a crop meant both sides; with a crop, the shorter side.
        size = {"shortest_edge": size} if crop else {"height": size, "width": size}
    if not isinstance(size, Mapping):
        raise LoadFailed(f"{PREPROCESSOR_FILE} has size {size!r:.80}, expected numbers of pixels")
    if "shortest_edge" not in size:
        return "stretch", _both(found, "size"), crop
    edge = _pixels("size", size["shortest_edge"])
    share = found.get("crop_pct")
    if isinstance(share, int | float) and 0 < share <= 1:
        if edge >= SMALL_EDGE:
            return "stretch", (edge, edge), None
        return "shortest", (int(edge / share), 0), (edge, edge)
    longest = size.get("longest_edge") or 0
    return "shortest", (edge, longest and _pixels("size", longest)), crop


def _both(found: Mapping[str, Any], key: str) -> tuple[int, int]:
    size = found.get(key)
    if isinstance(size, Mapping):
        return _pixels(key, size.get("height")), _pixels(key, size.get("width"))
    return _pixels(key, size), _pixels(key, size)


def _pixels(key: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= 16384:
        raise LoadFailed(f"{PREPROCESSOR_FILE} has {key} of {value!r:.80}, expected 1 to 16384")
    return value


def _values(found: Mapping[str, Any], key: str) -> tuple[float, ...] | None:
    values = found.get(key)
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(each, int | float) for each in values):
        raise LoadFailed(f"{PREPROCESSOR_FILE} has {key} {values!r:.80}, expected numbers")
    return tuple(map(float, values))
