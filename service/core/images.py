"""Geometry of the conversion from an image to a model's input, and from boxes of the input back to
the image. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from service.core.datatypes import Array, Datatype
from service.core.errors import SignatureMismatch

Resize = Literal["shortest", "stretch", "fit", "none"]
"""shortest: the shorter side gets a given length, and the sides keep their ratio. stretch: both
sides get a given length. fit: the image is as large as fits into the input; the rest is padding."""
Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
BoxForm = Literal["xyxy", "xywh", "cxcywh", "yxyx"]
FIRST = 4
"""The coordinates of a box are the first values of its axis."""
COORDINATES: dict[BoxForm, tuple[tuple[int, bool], ...]] = {
    "xyxy": ((0, True), (1, True), (0, True), (1, True)),
    "yxyx": ((1, True), (0, True), (1, True), (0, True)),
    "xywh": ((0, True), (1, True), (0, False), (1, False)),
    "cxcywh": ((0, True), (1, True), (0, False), (1, False)),
}
"""For each value of a box: 0 for x, 1 for y; and True for a position, False for a length."""


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """The output with the boxes. ``unit``: their values are shares of the input's sides, else
    pixels of the input. ``axis`` is the axis whose first four values are a box."""

    output: str
    form: BoxForm
    unit: bool
    axis: int


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """How images are converted to one input of a model.

    ``name`` is the name of the BYTES input; ``tensor`` is the name of the model's input, with its
    ``datatype`` and ``channels``. ``edges`` belong to ``resize``: (shorter, longest or 0) for
    "shortest", (height, width) for "stretch" and "fit". ``crop`` is the (height, width) that is cut
    from the middle, if any. A value v from 0 to 255 becomes v * ``factor`` + ``offset``, by
    channel. ``background`` is the colour under transparent pixels, ``pad`` the value around images
    that were resized with "fit". ``classes`` is the number of best classes in V1 answers; 0: the
    answers have the values.
    """

    name: str
    tensor: str
    datatype: Datatype
    channels: int
    channels_first: bool
    bgr: bool
    resize: Resize
    edges: tuple[int, int]
    crop: tuple[int, int] | None
    resample: Resample
    factor: tuple[float, ...]
    offset: tuple[float, ...]
    background: tuple[int, int, int]
    pad: int
    max_pixels: int
    classes: int = 0
    boxes: BoxSettings | None = None

    @property
    def figures(self) -> dict[str, str]:
        """The entries that the model's metadata shows."""
        sides = self.crop or (self.edges if self.resize in ("stretch", "fit") else None)
        shown = {
            "image_input": f'"{self.name}" BYTES [-1], in place of "{self.tensor}"',
            "image_formats": "JPEG, PNG, WebP",
            "image_size": f"{sides[1]}x{sides[0]}" if sides else "any",
            "image_resize": self.resize,
            "image_max_pixels": str(self.max_pixels),
        }
        return shown | ({"image_boxes": self.boxes.output} if self.boxes else {})


class Placement(NamedTuple):
    """Where an image lies in the input. Sizes are (width, height) in pixels.

    ``size`` is the size of the image, ``resized`` its size after scaling. The input shows a part of
    the scaled image: its size is ``shown``, and it begins at ``left``, ``top``. These are negative
    if the image is padded.
    """

    size: tuple[int, int]
    resized: tuple[int, int]
    shown: tuple[int, int]
    left: int = 0
    top: int = 0


def place(settings: ImageSettings, size: tuple[int, int]) -> Placement:
    """Compute the placement of an image of this (width, height) in the model's input.

    Raises:
        SignatureMismatch: it is too long and narrow to be scaled.
    """
    width, height = size
    if settings.resize == "shortest":
        resized = _by_shorter_side(size, *settings.edges)
    elif settings.resize == "stretch":
        resized = settings.edges[1], settings.edges[0]
    elif settings.resize == "fit":
        room = settings.edges[1], settings.edges[0]
        ratio = min(room[0] / width, room[1] / height)
        resized = max(1, round(width * ratio)), max(1, round(height * ratio))
        left, top = (resized[0] - room[0]) // 2, (resized[1] - room[1]) // 2
        return Placement(size, resized, room, left, top)
    else:
        resized = size
    if resized[0] * resized[1] > settings.max_pixels:
        raise SignatureMismatch(
            f"an image of {width}x{height} pixels becomes {resized[0]}x{resized[1]} for the model,"
            f" the limit is {settings.max_pixels} pixels"
        )
    if settings.crop is None:
        return Placement(size, resized, resized)
    shown = settings.crop[1], settings.crop[0]
    return Placement(
        size, resized, shown, (resized[0] - shown[0]) // 2, (resized[1] - shown[1]) // 2
    )


def _by_shorter_side(size: tuple[int, int], shorter: int, longest: int) -> tuple[int, int]:
    low, high = min(size), max(size)
    if longest and high * shorter > low * longest:
        shorter = max(1, round(low * longest / high))
    other = max(1, int(shorter * high / low))
    return (shorter, other) if size[0] <= size[1] else (other, shorter)


def boxes_in_images(boxes: BoxSettings, array: Array, placements: Sequence[Placement]) -> Array:
    """Convert boxes of the input to boxes of the images, in pixels of the images. The form of the
    boxes stays.

    ``array`` is [images, boxes, 4 or more], or has the last two axes swapped if ``boxes.axis`` says
    so. The array of a single image may lack the first axis. Values after the first four stay.

    Raises:
        SignatureMismatch: the output has another shape.
    """
    alone = array.ndim == 2 and len(placements) == 1
    found = np.array(array[None] if alone else array)
    axis = boxes.axis if boxes.axis < 0 or not alone else boxes.axis + 1
    if found.ndim != 3 or len(found) != len(placements) or found.shape[axis] < FIRST:
        raise SignatureMismatch(
            f'output "{boxes.output}" has shape {list(array.shape)} for {len(placements)} images,'
            f" expected boxes along axis {boxes.axis}: see [image.boxes] in model.toml"
        )
    factors = np.empty((len(placements), FIRST))
    offsets = np.zeros((len(placements), FIRST))
    for row, placement in enumerate(placements):
        for column, (side, is_place) in enumerate(COORDINATES[boxes.form]):
            ratio = placement.size[side] / placement.resized[side]
            factors[row, column] = ratio * (placement.shown[side] if boxes.unit else 1)
            if is_place:
                offsets[row, column] = ratio * (placement.left, placement.top)[side]
    values = np.moveaxis(found, axis, -1)[..., :FIRST]
    values *= factors[:, None].astype(found.dtype)
    values += offsets[:, None].astype(found.dtype)
    return found[0] if alone else found
