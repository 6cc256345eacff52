"""Builds the image settings of a model from [image] of model.toml, then preprocessor_config.json,
then the shape of its input."""

from service.config.model import ImageConfig
from service.core.errors import LoadFailed
from service.core.images import BoxSettings, ImageSettings, Resize
from service.core.tensors import Signature, TensorSpec
from service.engine.images.hub_config import HubImages

DATATYPES = ("UINT8", "FP16", "FP32", "FP64")
FLOATS = DATATYPES[1:]
CHANNELS = (1, 3)


def image_settings(
    config: ImageConfig, hub: HubImages | None, signature: Signature
) -> ImageSettings:
    """Return the settings for a model with this signature.

    Raises:
        LoadFailed: the settings do not fit the signature, or a setting is missing.
    """
    spec = _input(config, signature)
    first = _channels_first(config, spec)
    height, width, channels = (spec.shape[axis] for axis in ((2, 3, 1) if first else (1, 2, 3)))
    if channels not in CHANNELS:
        raise LoadFailed(
            f'[image]: input "{spec.name}" {spec} has {channels} channels as'
            f" {'nchw' if first else 'nhwc'}, expected 1 or 3"
        )
    assert isinstance(channels, int), "it is one of CHANNELS"
    fixed = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    resize, edges, crop = _sides(config, hub, fixed)
    shown = crop or (edges if resize in ("stretch", "fit") else None)
    if fixed and shown != fixed:
        raise LoadFailed(
            f'[image]: input "{spec.name}" {spec} takes {fixed[1]}x{fixed[0]} pixels, the settings'
            f" make {f'{shown[1]}x{shown[0]}' if shown else 'any size'}: set size = {list(fixed)}"
        )
    factor, offset = _values(config, hub, spec, channels)
    return ImageSettings(
        config.name,
        spec.name,
        spec.datatype,
        channels,
        first,
        config.colours == "bgr" if config.colours else bool(hub and hub.bgr),
        resize,
        edges,
        crop,
        config.resample or (hub.resample if hub else "bilinear"),
        factor,
        offset,
        config.background,
        config.pad,
        config.max_pixels,
        _classes(config, signature),
        _boxes(config, signature),
    )


def _input(config: ImageConfig, signature: Signature) -> TensorSpec:
    found = [spec for spec in signature.inputs if config.input in (None, spec.name)]
    if config.input is None:
        found = [spec for spec in found if len(spec.shape) == 4 and spec.datatype.name in DATATYPES]
    if len(found) != 1:
        what = f'input = "{config.input}"' if config.input else f"{len(found)} inputs fit images"
        raise LoadFailed(
            f"[image]: {what}, expected one input of four axes; the model takes {signature.takes}"
        )
    spec = found[0]
    if len(spec.shape) != 4 or spec.datatype.name not in DATATYPES:
        raise LoadFailed(
            f'[image]: input "{spec.name}" is {spec}, expected four axes of {", ".join(DATATYPES)}'
        )
    if any(each.name == config.name and each.datatype.name == "BYTES" for each in signature.inputs):
        raise LoadFailed(f'[image]: the model has a BYTES input "{config.name}": set another name')
    return spec


def _channels_first(config: ImageConfig, spec: TensorSpec) -> bool:
    if config.layout:
        return config.layout == "nchw"
    first, last = spec.shape[1] in CHANNELS, spec.shape[3] in CHANNELS
    if first == last:
        raise LoadFailed(
            f'[image]: input "{spec.name}" {spec} may be nchw or nhwc: set layout in model.toml'
        )
    return first


def _sides(
    config: ImageConfig, hub: HubImages | None, fixed: tuple[int, int] | None
) -> tuple[Resize, tuple[int, int], tuple[int, int] | None]:
    """Return how to resize, the edges for it, and the size of the crop."""
    from_file = config.resize is None and config.shorter_side is None and config.size is None
    if hub is not None and from_file:
        return hub.resize, hub.edges, hub.crop if config.crop is not False else None
    size = config.size or fixed
    resize = config.resize or ("shortest" if config.shorter_side else "stretch")
    if resize == "none":
        return resize, (0, 0), size if config.crop else fixed and size
    if resize == "shortest":
        shorter = config.shorter_side or (min(size) if size else None)
        if shorter is None:
            raise LoadFailed("[image]: resize shortest needs shorter_side, or a size")
        longest = config.longest_side or 0
        return resize, (shorter, longest), size if config.crop is not False else None
    if size is None:
        raise LoadFailed(f"[image]: resize {resize} needs size = [height, width]")
    return resize, size, None


def _values(
    config: ImageConfig, hub: HubImages | None, spec: TensorSpec, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the factors and the offsets of the channels."""
    if spec.datatype.name == "UINT8":
        if (config.scale, config.mean, config.std) != (None, None, None):
            raise LoadFailed(
                f'[image]: input "{spec.name}" is UINT8, so pixels are not scaled: remove scale,'
                " mean and std"
            )
        return (1.0,) * channels, (0.0,) * channels
    scale = config.scale if config.scale is not None else (hub.scale if hub else 1 / 255)
    mean = _each("mean", config.mean or (hub.mean if hub else None) or (0.0,), channels)
    std = _each("std", config.std or (hub.std if hub else None) or (1.0,), channels)
    if 0 in std:
        raise LoadFailed("[image]: std has a 0, expected other numbers")
    pairs = list(zip(mean, std, strict=True))
    return tuple(scale / s for _, s in pairs), tuple(-m / s for m, s in pairs)


def _each(key: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise LoadFailed(
            f"[image]: {key} has {len(values)} values, the input has {channels} channels"
        )
    return values * channels if len(values) == 1 else values


def _classes(config: ImageConfig, signature: Signature) -> int:
    if not config.classes:
        return 0
    outputs = signature.outputs
    if len(outputs) != 1 or outputs[0].datatype.kind != "number":
        raise LoadFailed("[image]: classes needs a model with one output of a float datatype")
    return config.classes


def _boxes(config: ImageConfig, signature: Signature) -> BoxSettings | None:
    if config.boxes is None:
        return None
    wanted = config.boxes
    spec = next((each for each in signature.outputs if each.name == wanted.output), None)
    if spec is None or spec.datatype.name not in FLOATS:
        names = ", ".join(f'"{each.name}" {each}' for each in signature.outputs)
        raise LoadFailed(
            f'[image.boxes]: the model has no float output "{wanted.output}"; it has {names}'
        )
    return BoxSettings(wanted.output, wanted.form, wanted.scale == "unit", wanted.axis)
