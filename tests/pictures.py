"""Pictures in the accepted formats, and models for them."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto
from PIL import Image

from tests.engine.graphs import constant, model, node, save, value

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 32


def picture(width: int = 90, height: int = 60, mode: str = "RGB") -> Image.Image:
    """Return a picture of smooth colours, different in each corner, with some noise."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).integers(0, 20, (height, width))
    channels = [
        x * 200 // width + noise,
        y * 200 // height + noise,
        (x + y) * 200 // (width + height),
    ]
    image = Image.fromarray(np.stack(channels, -1).astype(np.uint8))
    return image if mode == "RGB" else image.convert(mode)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def reference(data: bytes, shorter: int = SIDE, side: int = SIDE) -> np.ndarray:
    """Return FP32 [3, side, side], with the Pillow and numpy code of model cards."""
    image = Image.open(BytesIO(data)).convert("RGB")
    width, height = image.size
    ratio = shorter / min(width, height)
    scaled = (shorter, int(height * ratio + 1e-9)) if width < height else (
        int(width * ratio + 1e-9), shorter)  # fmt: skip
    image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    values = np.asarray(image, np.float32) / 255
    centred: np.ndarray = values - np.array(MEAN, np.float32)
    return (centred / np.array(STD, np.float32)).transpose(2, 0, 1)


TOML = f"""
[image]
resize = "shortest"
shorter_side = {SIDE}
mean = {list(MEAN)}
std = {list(STD)}
"""


def echo(folder: Path, toml: str = TOML, name: str = "echo") -> Path:
    """Write a model that returns its input FP32 [-1, 3, 32, 32] as ``y``; return the version's
    folder."""
    shape: list[int | str | None] = ["batch", 3, SIDE, SIDE]
    graph = model([node("Identity", "x", to="y")], [value("x", shape)], [value("y", shape)])
    home = save(graph, folder / name)
    (folder / name / "model.toml").write_text(toml)
    return home


def raw_echo(folder: Path, toml: str, name: str = "raw") -> Path:
    """Like ``echo``, for UINT8 [-1, -1, -1, 3]."""
    shape: list[int | str | None] = ["batch", "height", "width", 3]
    kind = TensorProto.UINT8
    ends = [value("x", shape, kind)], [value("y", shape, kind)]
    home = save(model([node("Identity", "x", to="y")], *ends), folder / name)
    (folder / name / "model.toml").write_text(toml)
    return home


def classifier(folder: Path, toml: str, name: str = "colours") -> Path:
    """Write a model whose scores of three classes are the channel means of FP32 [-1, 3, 32, 32]."""
    nodes = [node("ReduceMean", "x", to="scores", axes=[2, 3], keepdims=0)]
    shape: list[int | str | None] = ["batch", 3, SIDE, SIDE]
    home = save(model(nodes, [value("x", shape)], [value("scores", ["batch", 3])]), folder / name)
    (folder / name / "model.toml").write_text(toml)
    return home


def detector(folder: Path, toml: str, name: str = "detector") -> Path:
    """Write a model that finds the box (8, 4, 24, 20) with a score of 0.5 in every image."""
    nodes = [
        node("ReduceMean", "x", to="mean", axes=[1, 2, 3], keepdims=1),
        node("Squeeze", "mean", "last", to="flat"),
        node("Mul", "flat", "zero", to="nothing"),
        node("Add", "nothing", "box", to="boxes"),
    ]
    weights = [
        constant("last", [3], np.int64),
        constant("zero", 0, np.float32),
        constant("box", [[[8, 4, 24, 20, 0.5]]], np.float32),
    ]
    shape: list[int | str | None] = ["batch", 3, SIDE, SIDE]
    ends = [value("x", shape)], [value("boxes", ["batch", 1, 5])]
    home = save(model(nodes, *ends, weights), folder / name)
    (folder / name / "model.toml").write_text(toml)
    return home
