"""Converts pixels to a model's input: resizes, crops or pads the image, and scales its values."""

import numpy as np
from PIL import Image

from service.core.datatypes import Array
from service.core.images import ImageSettings, Placement, place
from service.engine.images.decoding import WORKING_BYTES, Picture, decode

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


VALUE_BYTES = 16
"""Bytes for each value of the input: a float, the same in the batch, and room for a copy."""


def bytes_needed(picture: Picture, settings: ImageSettings) -> int:
    """Return the bytes that ``read_picture`` may need, from the header alone.

    Raises:
        SignatureMismatch: see ``place``.
    """
    _, resized, shown, *_ = place(settings, picture.image.size)
    scaled = WORKING_BYTES * resized[0] * resized[1]
    return picture.working_bytes + scaled + VALUE_BYTES * settings.channels * shown[0] * shown[1]


def read_picture(picture: Picture, settings: ImageSettings) -> tuple[Array, Placement]:
    """Return one row of the input, [channels, height, width] or [height, width, channels], and the
    place of the image in it.

    Raises:
        MalformedRequest, SignatureMismatch: see ``decode`` and ``place``.
    """
    image = decode(picture, settings)
    placement = place(settings, image.size)
    return values_of(shown(image, placement, settings), settings), placement


def shown(image: Image.Image, placement: Placement, settings: ImageSettings) -> Image.Image:
    """Return the part of the scaled image that the model sees."""
    if placement.resized != image.size:
        image = image.resize(placement.resized, FILTERS[settings.resample])
    left, top = placement.left, placement.top
    if placement.shown == image.size:
        return image
    if left >= 0 and top >= 0:
        width, height = placement.shown
        return image.crop((left, top, left + width, top + height))
    fill = settings.pad if settings.channels == 1 else (settings.pad,) * settings.channels
    ground = Image.new(image.mode, placement.shown, fill)
    ground.paste(image, (-left, -top))
    return ground


def values_of(image: Image.Image, settings: ImageSettings) -> Array:
    """Convert an image of the right size to the values that the model expects."""
    values = np.asarray(image)
    if values.ndim == 2:
        values = values[:, :, None]
    if settings.bgr:
        values = values[:, :, ::-1]
    if settings.channels_first:
        values = values.transpose(2, 0, 1)
    if settings.datatype.name == "UINT8":
        return np.ascontiguousarray(values)
    by_channel = (-1, 1, 1) if settings.channels_first else (1, 1, -1)
    factor = np.array(settings.factor, np.float32).reshape(by_channel)
    offset = np.array(settings.offset, np.float32).reshape(by_channel)
    scaled: Array = np.multiply(values, factor, dtype=np.float32, order="C")
    scaled += offset
    return scaled.astype(settings.datatype.dtype, copy=False)
