"""Decodes the bytes of an image to pixels. Limits are checked before any pixel is decoded.

Pillow releases the interpreter lock while it decodes and while it resizes.
"""

import warnings
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from service.core.errors import MalformedRequest
from service.core.images import ImageSettings

# Pillow's warnings quote data of clients on stderr, and Python would store each different text.
warnings.filterwarnings("ignore", module=r"PIL\.")
FORMATS = ("JPEG", "PNG", "WEBP")
MOST_SCANS = 100
"""Scans of a progressive JPEG. Each scan is decoded over all pixels. Usual encoders write about
ten."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that turns an image upright, by its EXIF orientation."""
WORKING_BYTES = 12
"""Bytes for each pixel: Pillow needs four, and as many again while it changes the mode or turns the
image."""
ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")


class Picture(NamedTuple):
    """An image of which only the header has been read. ``where`` names it in errors."""

    image: Image.Image
    where: str

    @property
    def working_bytes(self) -> int:
        """The bytes that decoding the image may need."""
        return WORKING_BYTES * self.image.width * self.image.height


def open_picture(data: bytes | memoryview, where: str, settings: ImageSettings) -> Picture:
    """Read the header of an image.

    Raises:
        MalformedRequest: the image is no JPEG, PNG or WebP, is animated, or has too many pixels or
            scans.
    """
    raw = bytes(data)
    if not raw:
        raise MalformedRequest(f"{where} is empty, expected a JPEG, PNG or WebP")
    _check_size(_webp_size(raw), where, settings.max_pixels)
    try:
        image = Image.open(BytesIO(raw), formats=FORMATS)
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except MemoryError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise MalformedRequest(
            f"{where} has more pixels than the limit of {settings.max_pixels}"
        ) from None
    except Exception:  # any error of a decoder is caused by the bytes
        begins = raw[:4].hex(" ")
        raise MalformedRequest(
            f"{where} is not a readable image: expected a JPEG, PNG or WebP, got {len(raw)}"
            f" bytes that begin with {begins}"
        ) from None
    _check_size(image.size, where, settings.max_pixels)
    if frames != 1:
        raise MalformedRequest(f"{where} is animated, with {frames} frames: send a single one")
    if image.format in ("JPEG", "MPO") and (scans := raw.count(b"\xff\xda")) > MOST_SCANS:
        raise MalformedRequest(f"{where} has {scans} scans, the limit is {MOST_SCANS}")
    return Picture(image, where)


def _check_size(size: tuple[int, int] | None, where: str, most: int) -> None:
    if size is not None and size[0] * size[1] > most:
        raise MalformedRequest(
            f"{where} has {size[0]}x{size[1]} pixels, the limit is {most} ([image] max_pixels)"
        )


def _webp_size(raw: bytes) -> tuple[int, int] | None:
    """Return the width and height of a WebP; None for any other format. For a WebP, Pillow
    allocates the whole image when it reads the header."""
    if raw[:4] != b"RIFF" or raw[8:12] != b"WEBP" or len(raw) < 30:
        return None
    if raw[12:16] == b"VP8X":
        return _little(raw[24:27]) + 1, _little(raw[27:30]) + 1
    if raw[12:16] == b"VP8L":
        bits = _little(raw[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _little(raw[26:28]) & 0x3FFF, _little(raw[28:30]) & 0x3FFF


def _little(part: bytes) -> int:
    return int.from_bytes(part, "little")


def decode(picture: Picture, settings: ImageSettings) -> Image.Image:
    """Return the image upright, in mode RGB, or L for a model with one channel.

    Raises:
        MalformedRequest: the image is truncated or broken.
    """
    image, where = picture
    try:
        image.load()
        turn = TURNS.get(_orientation(image))
        plain = _plain(image, settings.background)
        if settings.channels == 1:
            plain = plain.convert("L")
        return plain if turn is None else plain.transpose(turn)
    except MemoryError:
        raise
    except Exception as error:
        raise MalformedRequest(
            f"{where} is a broken or truncated {image.format}: {error!s:.200}"
        ) from None


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 (upright) if there is none that can be read."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # the picture is valid even if a camera wrote faulty EXIF
        return 1
    return found if isinstance(found, int) else 1


def _plain(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Convert to 8-bit RGB; transparent pixels show the background."""
    if image.mode.startswith("I"):  # 16-bit grey: the upper 8 bits, as Pillow does with colours
        high = np.asarray(image).astype(np.uint16) >> 8
        return Image.fromarray(high.astype(np.uint8)).convert("RGB")
    if image.mode in ALPHA or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGB", image.size, background)
        ground.paste(layer, mask=layer.getchannel("A"))
        return ground
    return image if image.mode == "RGB" else image.convert("RGB")
