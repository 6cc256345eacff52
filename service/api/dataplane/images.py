"""Requests with images: from their bytes to the model's tensor, outside the event loop, and from
the outputs to boxes or classes."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from service.api.offload.lanes import Elsewhere, Lane
from service.api.protocol.image_answers import labelled
from service.api.protocol.image_bodies import ImageForm
from service.api.protocol.json_tensors import Bytes
from service.api.transport.exchange import Admitted, Exchange, Pictured
from service.api.transport.traffic import Traffic
from service.core.datatypes import Array
from service.core.errors import MalformedRequest, SignatureMismatch
from service.core.images import ImageSettings, Placement, boxes_in_images
from service.core.memory_budget import Reservation
from service.core.requests import InferRequest
from service.core.sizes import MOST_IMAGES
from service.core.tensors import Arrays, Tensor


class ImageBody(NamedTuple):
    """A body with images, and the form of the images in it."""

    body: Bytes
    form: ImageForm
    header_length: int | None


class Decoded(NamedTuple):
    """A request whose images were decoded to a tensor. ``seconds`` is the time for this, summed
    over all threads."""

    request: InferRequest
    pictured: Pictured | None
    seconds: float


class _Row(NamedTuple):
    values: Array
    placement: Placement
    seconds: float


async def read_images(
    sent: ImageBody,
    settings: ImageSettings,
    exchange: Exchange,
    elsewhere: Elsewhere,
    traffic: Traffic,
) -> Decoded:
    """Return the request in a body, with the model's tensor in place of its images.

    Raises:
        QuantserveError: see ``decode_images``.
        CodecFailed: the process that reads long JSON died.
    """
    if sent.form == "body":
        # A raw body gets a binary answer, as always; a POST of an image gets an answer in JSON.
        request = InferRequest((), binary_outputs=sent.header_length == 0)
        images: list[Any] = [sent.body]
    else:
        parts = (sent.body, sent.header_length, sent.form, settings.name)
        images, request = await elsewhere.decode_images(*parts, held=exchange.held)
        if not images:  # tensors, and a text that looked like an image's datatype
            return Decoded(request, None, 0.0)
    return await decode_images(images, request, settings, exchange, elsewhere, traffic)


async def decode_images(
    images: Sequence[Any],
    request: InferRequest,
    settings: ImageSettings,
    exchange: Exchange,
    elsewhere: Elsewhere,
    traffic: Traffic,
) -> Decoded:
    """Return the request with the model's tensor and its other inputs. Memory for the pixels is
    reserved before any image is decoded.

    Raises:
        MalformedRequest, SignatureMismatch: an image is not usable; the message names it.
        MemoryFull, BodyTooLarge: there is no room for the pixels.
    """
    tensor, lane = settings.tensor, elsewhere.images
    if any(each.name == tensor for each in request.inputs):
        raise MalformedRequest(
            f'the request has input "{tensor}" and also input "{settings.name}", which replaces it:'
            " send only one of them"
        )
    began = perf_counter()
    pictures, needed = await lane.run(_opened, images, settings, held=exchange.held)
    seconds = perf_counter() - began
    traffic.expand(exchange, needed)
    rows = await _rows(pictures, settings, lane, exchange.held)
    values = rows[0].values[None]
    if len(rows) > 1:
        values = await lane.run(_stacked, [row.values for row in rows], held=exchange.held)
    made = Tensor(tensor, settings.datatype, values)
    pictured = Pictured(settings, tuple([row.placement for row in rows]))
    seconds += sum([row.seconds for row in rows])
    return Decoded(request._replace(inputs=(*request.inputs, made)), pictured, seconds)


async def _rows(
    pictures: Sequence[Any], settings: ImageSettings, lane: Lane, held: Reservation | None
) -> list[_Row]:
    """Decode each image as one piece of work. The first failure cancels images not begun yet."""
    if len(pictures) == 1:
        return [await lane.run(_row, pictures[0], settings, held=held)]
    tasks = [asyncio.ensure_future(lane.run(_row, p, settings, held=held)) for p in pictures]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _opened(images: Sequence[Any], settings: ImageSettings) -> tuple[list[Any], int]:
    from service.engine.images.decoding import open_picture
    from service.engine.images.pixels import bytes_needed

    assert len(images) <= MOST_IMAGES, "the codec has counted them"
    several = len(images) > 1
    pictures = []
    for place, data in enumerate(images):
        where = f"image {place}" if several else "the image"
        pictures.append(open_picture(data, f'input "{settings.name}": {where}', settings))
    return pictures, sum([bytes_needed(picture, settings) for picture in pictures])


def _row(picture: Any, settings: ImageSettings) -> _Row:
    from service.engine.images.pixels import read_picture

    began = perf_counter()
    values, placement = read_picture(picture, settings)
    return _Row(values, placement, perf_counter() - began)


def _stacked(rows: Sequence[Array]) -> Array:
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise SignatureMismatch(
            f"the images become tensors of {len(shapes)} shapes, such as"
            f" {' and '.join(str(list(shape)) for shape in sorted(shapes)[:2])}: send each in a"
            " separate request"
        )
    return np.stack(rows)


def in_images(admitted: Admitted, outputs: Arrays, pictured: Pictured) -> Arrays:
    """Return the outputs of a request, with boxes in pixels of its images.

    Raises:
        SignatureMismatch: see ``boxes_in_images``.
    """
    boxes = pictured.settings.boxes
    if boxes is None:
        return outputs
    wanted = [each.name for each in admitted.request.outputs]
    names = wanted or [spec.name for spec in admitted.signature.outputs]
    return tuple(
        [
            boxes_in_images(boxes, array, pictured.placements) if name == boxes.output else array
            for name, array in zip(names, outputs, strict=True)
        ]
    )


def best_classes(admitted: Admitted, outputs: Arrays, pictured: Pictured) -> bytes:
    """Return the body of a V1 answer with the best classes of each image."""
    name = admitted.signature.outputs[0].name
    labels, classes = admitted.version.labels(name), pictured.settings.classes
    return labelled(outputs[0], classes, labels)
