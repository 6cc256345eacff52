"""Files of every kind are decoded to the correct pixels, or refused with a reason."""

import struct
import tracemalloc
import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.core.errors import MalformedRequest
from service.engine.images.decoding import MOST_SCANS, decode, open_picture
from tests.core.test_images import SETTINGS
from tests.pictures import encoded, picture

PLAIN = np.asarray(picture())


def read(data: bytes, **changed: object) -> np.ndarray:
    settings = replace(SETTINGS, **changed)  # type: ignore[arg-type]
    return np.asarray(decode(open_picture(data, "the image", settings), settings))


def refused(data: bytes, **changed: object) -> str:
    with pytest.raises(MalformedRequest) as caught:
        read(data, **changed)
    return str(caught.value)


@pytest.mark.parametrize(
    ("form", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("PNG", {"interlace": 1})],
)
def test_lossless_formats_are_exact(form: str, options: dict[str, object]) -> None:
    np.testing.assert_array_equal(read(encoded(picture(), form, **options)), PLAIN)


@pytest.mark.parametrize("options", [{"quality": 95}, {"progressive": True}, {"subsampling": 2}])
def test_jpeg_is_decoded(options: dict[str, object]) -> None:
    data = encoded(picture(), "JPEG", **options)
    found = read(data)
    assert found.shape == PLAIN.shape
    assert np.abs(found.astype(int) - PLAIN).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_exif_turns_the_image_upright(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), form, exif=exif)
    want = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))))
    np.testing.assert_array_equal(read(data), want)
    assert read(data).shape[:2] == ((60, 90) if orientation < 5 else (90, 60))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_ignored() -> None:
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\x12\0\3\0\0\0\1")
    assert read(data).shape == PLAIN.shape


def test_cmyk_is_converted_to_rgb() -> None:
    data = encoded(picture().convert("CMYK"), "JPEG", quality=95)
    assert np.abs(read(data).astype(int) - PLAIN).mean() < 8


def test_grey_in_16_bits_keeps_its_upper_eight_bits() -> None:
    grey = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    data = encoded(Image.fromarray(grey))
    assert data[24] == 16, "the file must have 16 bits"
    np.testing.assert_array_equal(read(data)[..., 0], grey >> 8)
    assert read(data).shape == (64, 64, 3)


def test_colours_in_16_bits_keep_their_upper_eight_bits() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 3)).astype(">u2")
    np.testing.assert_array_equal(read(png(8, 8, 16, 2, values.tobytes())), values >> 8)


def png(width: int, height: int, bits: int, colours: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(
            ">I", zlib.crc32(kind + body)
        )  # fmt: skip

    row = len(pixels) // height
    lines = b"".join(b"\0" + pixels[i * row : (i + 1) * row] for i in range(height))
    head = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_bilevel_and_palette_images_are_converted_to_rgb(mode: str) -> None:
    image = picture().convert(mode)
    np.testing.assert_array_equal(read(encoded(image)), np.asarray(image.convert("RGB")))


def test_transparent_pixels_show_the_background() -> None:
    image = picture().convert("RGBA")
    alpha = np.zeros((60, 90), np.uint8)
    alpha[:, 45:] = 255
    image.putalpha(Image.fromarray(alpha))
    for form in ("PNG", "WEBP"):
        found = read(encoded(image, form, lossless=True), background=(1, 2, 3))
        assert (found[:, :45] == (1, 2, 3)).all()
        np.testing.assert_array_equal(found[:, 45:], PLAIN[:, 45:])


def test_a_palette_with_transparency_shows_the_background() -> None:
    image = Image.new("P", (4, 2), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((3, 1), 1)
    found = read(encoded(image, transparency=0))
    assert tuple(found[0, 0]) == (255, 255, 255) and tuple(found[1, 3]) == (40, 50, 60)


def test_grey_with_transparency_shows_the_background() -> None:
    image = Image.new("LA", (2, 1), (90, 255))
    image.putpixel((1, 0), (90, 0))
    assert read(encoded(image))[0].tolist() == [[90] * 3, [255] * 3]


def test_a_model_with_one_channel_gets_grey_images() -> None:
    found = read(encoded(picture()), channels=1)
    np.testing.assert_array_equal(found, np.asarray(picture().convert("L")))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_truncated_files_are_refused(form: str, share: float) -> None:
    data = encoded(picture(300, 200), form)
    assert "the image is" in refused(data[: int(len(data) * share)])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_flipped_bytes_are_refused_or_read(form: str) -> None:
    data = encoded(picture(), form)
    rng = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 5):
            broken[place] = int(rng.integers(0, 256))
        try:
            found = read(bytes(broken))
        except MalformedRequest as error:
            assert str(error).startswith("the image ")
        else:
            assert found.ndim == 3 and found.shape[2] == 3


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_animated_images_are_refused(form: str) -> None:
    frames = [picture(20, 20), picture(20, 20).rotate(90)]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert "animated, with 2 frames: send a single one" in refused(data)


def test_the_first_picture_of_a_file_with_two_is_read() -> None:
    """A JPEG followed by a second JPEG, as phones write it."""
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture(9, 9)])
    assert read(data).shape == PLAIN.shape


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "ICO"])
def test_other_formats_are_refused(form: str) -> None:
    assert "expected a JPEG, PNG or WebP" in refused(encoded(picture(), form))


@pytest.mark.parametrize(
    "bomb",
    [
        png(30_000, 30_000, 8, 2, b"\0" * 30_000),
        png(9_000, 9_000, 1, 0, b"\0" * 9_000),
        b"RIFF\x1a\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2,
        b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f" + (0x3FFF | 0x3FFF << 14).to_bytes(4, "little") * 3,
        encoded(Image.new("L", (1, 1)), "JPEG").replace(b"\0\1\0\1\1\1", b"\xff\xff\xff\xff\1\1"),
    ],
    ids=["png", "png of bits", "webp", "webp lossless", "jpeg"],
)
def test_a_decompression_bomb_is_refused_without_using_memory(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        told = refused(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "pixels" in told and "limit" in told
    assert peak < 4 * 2**20


def test_a_jpeg_with_too_many_scans_is_refused() -> None:
    data = encoded(picture(), "JPEG", progressive=True)
    scan = data.index(b"\xff\xda")
    many = data[:scan] + data[scan:-2] * (MOST_SCANS + 1) + data[-2:]
    assert "scans, the limit is 100" in refused(many)


def test_the_memory_for_decoding_is_estimated_from_the_header() -> None:
    assert open_picture(encoded(picture()), "it", SETTINGS).working_bytes == 12 * 90 * 60
