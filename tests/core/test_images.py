"""The placement of an image in the input, and the conversion of boxes back to the image."""

from dataclasses import replace

import numpy as np
import pytest

from service.core.datatypes import DATATYPES
from service.core.errors import SignatureMismatch
from service.core.images import BoxSettings, ImageSettings, Placement, boxes_in_images, place

SETTINGS = ImageSettings(
    name="image",
    tensor="x",
    datatype=DATATYPES["FP32"],
    channels=3,
    channels_first=True,
    bgr=False,
    resize="shortest",
    edges=(256, 0),
    crop=(224, 224),
    resample="bilinear",
    factor=(1.0, 1.0, 1.0),
    offset=(0.0, 0.0, 0.0),
    background=(255, 255, 255),
    pad=0,
    max_pixels=2**26,
)


def test_shortest_scales_the_shorter_side_and_crops_the_centre() -> None:
    assert place(SETTINGS, (640, 480)) == Placement((640, 480), (341, 256), (224, 224), 58, 16)
    assert place(SETTINGS, (480, 640)) == Placement((480, 640), (256, 341), (224, 224), 16, 58)


def test_the_longer_side_is_limited() -> None:
    detr = replace(SETTINGS, edges=(800, 1333), crop=None)
    assert place(detr, (640, 480)).resized == (1066, 800)
    assert place(detr, (1000, 200)).resized == (1335, 267)  # 200 * 1333 / 1000, rounded


def test_stretch_scales_both_sides() -> None:
    stretched = replace(SETTINGS, resize="stretch", edges=(200, 100), crop=None)
    assert place(stretched, (640, 480)) == Placement((640, 480), (100, 200), (100, 200))


def test_fit_centres_the_image() -> None:
    fitted = replace(SETTINGS, resize="fit", edges=(320, 320), crop=None)
    assert place(fitted, (640, 480)) == Placement((640, 480), (320, 240), (320, 320), 0, -40)
    assert place(fitted, (10_000, 1)).resized == (320, 1)


def test_a_smaller_image_is_padded_to_the_crop() -> None:
    small = place(replace(SETTINGS, resize="none"), (100, 300))
    assert small == Placement((100, 300), (100, 300), (224, 224), -62, 38)


def test_an_image_that_would_become_huge_is_refused() -> None:
    with pytest.raises(SignatureMismatch, match="1x60000 pixels becomes 256x15360000"):
        place(SETTINGS, (1, 60_000))


CENTRED = Placement((640, 480), (320, 240), (320, 320), 0, -40)
SAME = Placement((320, 320), (320, 320), (320, 320))


@pytest.mark.parametrize(
    ("form", "given", "want"),
    [
        ("xyxy", (10, 50, 20, 70), (20, 20, 40, 60)),
        ("yxyx", (50, 10, 70, 20), (20, 20, 60, 40)),
        ("xywh", (10, 50, 10, 20), (20, 20, 20, 40)),
        ("cxcywh", (15, 60, 10, 20), (30, 40, 20, 40)),
    ],
)
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("axis", [-1, 1])
def test_boxes_of_every_form_are_converted_to_the_image(
    form: str, given: tuple[int, ...], want: tuple[int, ...], unit: bool, axis: int
) -> None:
    box = np.array(given, np.float32) / (320 if unit else 1)
    rest = np.array([0.9, 7], np.float32)
    rows = np.stack([np.concatenate([box, rest])[None]] * 2)  # [2 images, 1 box, 6]
    array = rows if axis == -1 else rows.transpose(0, 2, 1)
    settings = BoxSettings("boxes", form, unit, axis)  # type: ignore[arg-type]
    found = boxes_in_images(settings, array, [CENTRED, SAME])
    found = found if axis == -1 else found.transpose(0, 2, 1)
    np.testing.assert_allclose(found[0, 0], [*want, 0.9, 7], rtol=1e-5)
    np.testing.assert_allclose(found[1, 0], [*given, 0.9, 7], rtol=1e-5)
    assert array is not found and np.array_equal(rows[0, 0, :4], box), "the output is not changed"


def test_boxes_of_one_image_may_lack_the_image_axis() -> None:
    array = np.array([[10, 50, 20, 70]], np.float32)
    found = boxes_in_images(BoxSettings("b", "xyxy", False, -1), array, [CENTRED])
    np.testing.assert_allclose(found, [[20, 20, 40, 60]])
    swapped = boxes_in_images(BoxSettings("b", "xyxy", False, 1), array.T[None], [CENTRED])
    np.testing.assert_allclose(swapped[0, :, 0], [20, 20, 40, 60])


@pytest.mark.parametrize("shape", [(2, 5, 4), (1, 5, 3), (5,), (1, 1, 5, 4)])
def test_an_output_without_boxes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SignatureMismatch, match="expected boxes along axis -1"):
        boxes_in_images(BoxSettings("b", "xyxy", False, -1), np.zeros(shape), [CENTRED])


def test_figures_describe_the_input() -> None:
    shown = replace(SETTINGS, boxes=BoxSettings("b", "xyxy", False, -1)).figures
    assert shown["image_size"] == "224x224" and shown["image_boxes"] == "b"
    assert replace(SETTINGS, crop=None).figures["image_size"] == "any"
