"""preprocessor_config.json as Hugging Face's image processors write it."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.core.errors import LoadFailed
from service.engine.images.hub_config import HubImages, read_hub_config

VIT = {
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "ViTFeatureExtractor",
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "size": 224,
}
CLIP = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}


def read(folder: Path, processor: dict[str, Any], **others: Any) -> HubImages | None:
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    for name, content in others.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return read_hub_config(folder, folder)


def test_a_size_with_height_and_width_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, VIT)
    assert found is not None
    assert (found.resize, found.edges, found.crop) == ("stretch", (224, 224), None)
    assert found.resample == "bilinear" and found.mean == (0.5, 0.5, 0.5)
    assert found.scale == pytest.approx(1 / 255)


def test_a_size_of_the_shorter_side_with_a_crop_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, CLIP)
    assert found is not None
    assert (found.resize, found.edges, found.crop) == ("shortest", (224, 0), (224, 224))
    assert found.resample == "bicubic"


@pytest.mark.parametrize(
    ("changes", "sides"),
    [
        ({"size": 256}, ("shortest", (256, 0), (224, 224))),
        ({"crop_size": 200}, ("shortest", (224, 0), (200, 200))),
        ({"do_resize": False}, ("none", (0, 0), (224, 224))),
        ({"do_center_crop": False, "size": {"height": 5, "width": 7}}, ("stretch", (5, 7), None)),
        (
            {"do_center_crop": False, "size": {"shortest_edge": 800, "longest_edge": 1333}},
            ("shortest", (800, 1333), None),
        ),
        (
            {"do_center_crop": False, "crop_pct": 0.875},
            ("shortest", (256, 0), (224, 224)),
        ),
        (
            {"do_center_crop": False, "crop_pct": 0.9, "size": {"shortest_edge": 384}},
            ("stretch", (384, 384), None),
        ),
    ],
)
def test_other_forms_of_the_size_are_read(
    tmp_path: Path, changes: dict[str, Any], sides: Any
) -> None:
    found = read(tmp_path, CLIP | changes)
    assert found is not None and (found.resize, found.edges, found.crop) == sides


def test_disabled_steps_are_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, CLIP | {"do_rescale": False, "do_normalize": False})
    assert found is not None and found.scale == 1.0 and found.mean is None and found.std is None
    flipped = read(tmp_path, CLIP | {"do_flip_channel_order": True})
    assert flipped is not None and flipped.bgr


def test_configurations_of_audio_models_are_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, {"feature_extractor_type": "WhisperFeatureExtractor"}) is None


def test_a_missing_file_is_ignored(tmp_path: Path) -> None:
    assert read_hub_config(tmp_path, tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"do_pad": True}, "do_pad"),
        ({"size": "large"}, "has size 'large'"),
        ({"size": {"shortest_edge": -1}}, "size of -1"),
        ({"resample": 17}, "resample 17, expected 0 to 5"),
        ({"rescale_factor": "x"}, "rescale_factor 'x'"),
        ({"image_mean": [None]}, "image_mean"),
        ({"crop_size": {"height": 1}}, "crop_size of None"),
    ],
)
def test_unsupported_settings_are_refused_by_name(tmp_path: Path, changes: Any, told: str) -> None:
    with pytest.raises(LoadFailed, match=told):
        read(tmp_path, CLIP | changes)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_files_that_are_not_a_json_object_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(LoadFailed, match="preprocessor_config.json is"):
        read_hub_config(tmp_path, tmp_path)


def test_a_link_out_of_the_repository_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    (tmp_path / "secret.json").write_text(json.dumps(VIT))
    (root / "preprocessor_config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(LoadFailed, match="leads outside"):
        read_hub_config(root, root)
