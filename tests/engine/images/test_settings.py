"""Image settings for a model's signature."""

from typing import Any

import pytest

from service.config.model import ImageBoxesConfig, ImageConfig
from service.core.errors import LoadFailed
from service.core.images import BoxSettings, ImageSettings
from service.core.tensors import Dim, Signature
from service.engine.images.hub_config import HubImages
from service.engine.images.settings import image_settings
from tests.engine.goldens import spec

NCHW: tuple[Dim, ...] = ("batch", 3, 224, 224)
OUT = spec("scores", "FP32", "batch", 10)
HUB = HubImages(
    "shortest", (256, 0), (224, 224), "bicubic", 1 / 255, (0.5,) * 3, (0.25,) * 3, False
)


def settings(
    *shape: Dim, datatype: str = "FP32", hub: HubImages | None = None, **config: Any
) -> ImageSettings:
    signature = Signature((spec("x", datatype, *shape),), (OUT,))
    return image_settings(ImageConfig(**config), hub, signature)


def test_layout_and_size_follow_from_the_shape() -> None:
    found = settings(*NCHW)
    assert found.channels_first and found.channels == 3 and found.tensor == "x"
    assert (found.resize, found.edges, found.crop) == ("stretch", (224, 224), None)
    assert found.factor == pytest.approx((1 / 255,) * 3) and found.offset == (0, 0, 0)
    other = settings("batch", 100, 200, 1)
    assert not other.channels_first and other.channels == 1 and other.edges == (100, 200)


def test_mean_and_std_are_combined_to_a_factor_and_an_offset() -> None:
    found = settings(*NCHW, mean=(0.5,), std=(0.25, 0.5, 1.0), scale=1.0)
    assert found.factor == (4.0, 2.0, 1.0) and found.offset == (-2.0, -1.0, -0.5)


def test_the_hub_file_is_used_for_settings_missing_in_model_toml() -> None:
    found = settings(*NCHW, hub=HUB)
    assert (found.resize, found.edges, found.crop) == ("shortest", (256, 0), (224, 224))
    assert found.resample == "bicubic" and found.offset == (-2.0,) * 3
    changed = settings(*NCHW, hub=HUB, resize="fit", resample="box", mean=(0.0,))
    assert (changed.resize, changed.edges, changed.crop) == ("fit", (224, 224), None)
    assert changed.resample == "box" and changed.offset == (0, 0, 0)


@pytest.mark.parametrize(
    ("config", "sides"),
    [
        ({"shorter_side": 256}, ("shortest", (256, 0), (224, 224))),
        ({"resize": "shortest"}, ("shortest", (224, 0), (224, 224))),
        ({"resize": "fit"}, ("fit", (224, 224), None)),
        ({"resize": "none"}, ("none", (0, 0), (224, 224))),
        ({"resize": "none", "crop": True}, ("none", (0, 0), (224, 224))),
        ({"size": (224, 224)}, ("stretch", (224, 224), None)),
    ],
)
def test_sides_follow_from_the_settings(config: dict[str, Any], sides: Any) -> None:
    found = settings(*NCHW, **config)
    assert (found.resize, found.edges, found.crop) == sides


def test_an_input_of_any_size_needs_the_sides() -> None:
    free = ("batch", 3, None, None)
    found = settings(*free, resize="shortest", shorter_side=800, longest_side=1333, crop=False)
    assert (found.edges, found.crop) == ((800, 1333), None)
    assert settings(*free, resize="none").crop is None
    with pytest.raises(LoadFailed, match="stretch needs size"):
        settings(*free)
    with pytest.raises(LoadFailed, match="needs shorter_side"):
        settings(*free, resize="shortest")


def test_integer_inputs_are_not_scaled() -> None:
    assert settings(*NCHW, datatype="UINT8").factor == (1, 1, 1)
    with pytest.raises(LoadFailed, match="remove scale, mean and std"):
        settings(*NCHW, datatype="UINT8", mean=(0.5,))


@pytest.mark.parametrize(
    ("shape", "config", "told"),
    [
        (("batch", 10), {}, "0 inputs fit images"),
        (("batch", 10), {"input": "x"}, "expected four axes"),
        (NCHW, {"input": "y"}, 'input = "y"'),
        (("batch", 3, 3, 3), {}, "may be nchw or nhwc"),
        (("batch", 4, 9, 9), {"layout": "nchw"}, "has 4 channels as nchw"),
        (NCHW, {"size": (100, 100)}, "takes 224x224 pixels, the settings make 100x100"),
        (NCHW, {"shorter_side": 256, "crop": False}, "the settings make any size"),
        (NCHW, {"mean": (1.0, 2.0)}, "mean has 2 values, the input has 3"),
        (NCHW, {"boxes": ImageBoxesConfig(output="b")}, 'no float output "b"'),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused_with_the_reason(
    shape: Any, config: Any, told: str
) -> None:
    with pytest.raises(LoadFailed, match=told):
        settings(*shape, **config)


def test_a_bytes_input_with_the_same_name_is_refused() -> None:
    inputs = (spec("x", "FP32", *NCHW), spec("image", "BYTES", "batch"))
    with pytest.raises(LoadFailed, match="set another name"):
        image_settings(ImageConfig(), None, Signature(inputs, (OUT,)))


def test_classes_need_one_output() -> None:
    assert settings(*NCHW, classes=5).classes == 5
    with pytest.raises(LoadFailed, match="one output"):
        both = Signature((spec("x", "FP32", *NCHW),), (OUT, OUT))
        image_settings(ImageConfig(classes=5), None, both)


def test_box_settings_are_read() -> None:
    boxes = ImageBoxesConfig(output="scores", form="cxcywh", scale="unit", axis=1)
    assert settings(*NCHW, boxes=boxes).boxes == BoxSettings("scores", "cxcywh", True, 1)
