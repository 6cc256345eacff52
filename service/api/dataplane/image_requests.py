"""The images of requests: recognised in a body, replaced by the model's tensor before the queue,
and answered with boxes or classes.

``images.py`` does the work. It is imported with the first image, to save memory on servers without
image models.
"""

from typing import TYPE_CHECKING

from service.api.dataplane.choice import choose
from service.api.dataplane.headers import Headers, header_length
from service.api.offload.lanes import Elsewhere
from service.api.protocol.image_bodies import form_of, images_of
from service.api.protocol.json_tensors import Bytes
from service.api.transport.answers import Answer, encoded
from service.api.transport.exchange import Admitted, Exchange
from service.api.transport.traffic import Traffic
from service.core.events import ImagesDecoded, Observer
from service.core.requests import InferRequest
from service.core.tensors import Arrays
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion

if TYPE_CHECKING:
    from service.api.dataplane.images import Decoded, ImageBody
    from service.core.images import ImageSettings


class ImageRequests:
    """Decodes the images of requests, and reports them to observers."""

    def __init__(
        self,
        repository: ModelRepository,
        elsewhere: Elsewhere,
        traffic: Traffic,
        observe: Observer,
    ) -> None:
        self._repository = repository
        self._elsewhere = elsewhere
        self._traffic = traffic
        self._observe = observe

    async def read(
        self, exchange: Exchange, sent: "ImageBody", version: ModelVersion, images: "ImageSettings"
    ) -> InferRequest:
        """Return the request in a body, with the version's tensor in place of its images.

        Raises:
            QuantserveError: see ``read_images``.
        """
        from service.api.dataplane.images import read_images

        places = (exchange, self._elsewhere, self._traffic)
        return self._decoded(exchange, version, await read_images(sent, images, *places))

    def input_name(self, exchange: Exchange) -> str | None:
        """Return the name of the BYTES input for images; None if the version accepts no images.

        Raises:
            NotFound, NotReady: the model or version does not exist, or is not ready.
        """
        images = choose(self._repository, exchange).images
        return None if images is None else images.name

    async def replace(self, exchange: Exchange, request: InferRequest) -> InferRequest:
        """Return a decoded request with the model's tensor in place of its images, if it has any.
        The elements of the input ``input_name`` must be bytes.

        Raises:
            RequestError, TransientError: as in ``Inference.admit_elsewhere``.
        """
        while True:
            version = choose(self._repository, exchange)
            settings, exchange.pictured = version.images, None
            images, rest = images_of(settings.name, request) if settings else ([], request)
            if settings is None or not images:
                return request
            from service.api.dataplane.images import decode_images

            places = (exchange, self._elsewhere, self._traffic)
            made = await decode_images(images, rest, settings, *places)
            # Another version may be serving now, and it may need other pixels.
            if choose(self._repository, exchange).images == settings:
                return self._decoded(exchange, version, made)

    def _decoded(
        self, exchange: Exchange, version: ModelVersion, decoded: "Decoded"
    ) -> InferRequest:
        exchange.pictured = decoded.pictured
        if decoded.pictured is not None:
            count = len(decoded.pictured.placements)
            event = ImagesDecoded(version.model, version.number, count, decoded.seconds)
            self._observe(event)
        return decoded.request


def image_body(exchange: Exchange, headers: Headers, body: Bytes) -> "ImageBody | None":
    """Return the body of a request for an image model; None if the body has no images.

    Raises:
        MalformedRequest: see ``header_length``.
    """
    from service.api.dataplane.images import ImageBody

    protocol, length = exchange.target.protocol, header_length(headers)
    form = form_of(protocol, headers.get(b"content-type"), length, body)
    return None if form is None else ImageBody(body, form, length)


def of_images(
    exchange: Exchange, admitted: Admitted, outputs: Arrays
) -> tuple[Arrays, Answer | None]:
    """Return the outputs, with boxes in pixels of the images, and the complete answer if it is a
    list of image classes, else None."""
    from service.api.dataplane.images import best_classes, in_images

    pictured = exchange.pictured
    assert pictured is not None, "the request had images"
    if pictured.settings.classes and exchange.target.protocol == "v1":
        return outputs, encoded(best_classes(admitted, outputs, pictured), None)
    return in_images(admitted, outputs, pictured), None
