"""Pixels as models expect them, compared with Pillow and numpy."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from service.core.datatypes import DATATYPES
from service.core.images import ImageSettings
from service.engine.images.decoding import open_picture
from service.engine.images.pixels import FILTERS, bytes_needed, read_picture
from tests.core.test_images import SETTINGS
from tests.pictures import MEAN, STD, encoded, picture, reference

NORMALISED = replace(
    SETTINGS,
    factor=tuple(1 / 255 / s for s in STD),
    offset=tuple(-m / s for m, s in zip(MEAN, STD, strict=True)),
)
AS_THEY_ARE = replace(SETTINGS, datatype=DATATYPES["UINT8"], resize="none", crop=None)


def read(data: bytes, settings: ImageSettings) -> np.ndarray:
    return read_picture(open_picture(data, "the image", settings), settings)[0]


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (300, 300), (257, 1000), (64, 48)])
def test_pixels_match_the_reference_pipeline(size: tuple[int, int]) -> None:
    for form in ("JPEG", "PNG", "WEBP"):
        data = encoded(picture(*size), form)
        np.testing.assert_allclose(read(data, NORMALISED), reference(data, 256, 224), atol=1e-5)


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_matches_pillow(name: str) -> None:
    settings = replace(
        AS_THEY_ARE, resize="stretch", edges=(50, 40), resample=name, channels_first=False
    )  # type: ignore[arg-type]
    want = picture().resize((40, 50), getattr(Image.Resampling, name.upper()))
    np.testing.assert_array_equal(read(encoded(picture()), settings), np.asarray(want))


def test_layouts_and_orders_of_channels() -> None:
    plain, data = np.asarray(picture()), encoded(picture())
    nhwc = replace(AS_THEY_ARE, channels_first=False)
    np.testing.assert_array_equal(read(data, nhwc), plain)
    np.testing.assert_array_equal(read(data, AS_THEY_ARE), plain.transpose(2, 0, 1))
    np.testing.assert_array_equal(read(data, replace(nhwc, bgr=True)), plain[..., ::-1])
    grey = replace(nhwc, channels=1)
    np.testing.assert_array_equal(read(data, grey)[..., 0], np.asarray(picture().convert("L")))


@pytest.mark.parametrize("name", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("first", [True, False])
def test_each_channel_has_its_own_factor(name: str, first: bool) -> None:
    settings = replace(NORMALISED, datatype=DATATYPES[name], channels_first=first)
    data = encoded(picture(300, 300))
    found = read(data, settings)
    assert found.dtype == DATATYPES[name].dtype and found.flags.c_contiguous
    want = reference(data, 256, 224)
    tolerance = 2e-3 if name == "FP16" else 1e-5
    np.testing.assert_allclose(
        found, want if first else want.transpose(1, 2, 0), atol=tolerance, rtol=1e-3
    )


def test_fitted_images_are_padded() -> None:
    settings = replace(AS_THEY_ARE, resize="fit", edges=(40, 60), pad=114, channels_first=False)
    found = read(encoded(picture(90, 30)), settings)
    assert found.shape == (40, 60, 3)
    assert (found[:10] == 114).all() and (found[30:] == 114).all()
    want = picture(90, 30).resize((60, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found[10:30], np.asarray(want))


def test_a_crop_may_cut_one_side_and_pad_the_other() -> None:
    settings = replace(AS_THEY_ARE, crop=(20, 100), channels_first=False)
    found = read(encoded(picture(90, 60)), settings)
    assert found.shape == (20, 100, 3) and not found[:, :5].any()
    np.testing.assert_array_equal(found[:, 5:95], np.asarray(picture(90, 60))[20:40])


def test_the_memory_estimate_covers_the_allocated_arrays() -> None:
    data = encoded(picture(640, 480))
    needed = bytes_needed(open_picture(data, "it", NORMALISED), NORMALISED)
    arrays = 640 * 480 * 4 + 341 * 256 * 4 + 3 * 224 * 224 * 4
    assert arrays < needed < 10 * arrays
