"""Images are recognised, replaced by the tensor of the version that serves, and reported once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from service.api.dataplane.image_requests import ImageRequests, image_body, of_images
from service.api.offload.lanes import Elsewhere
from service.api.protocol.image_bodies import array_of_images
from service.api.transport.exchange import Admitted, Exchange, Pictured
from service.api.transport.target import Target
from service.api.transport.traffic import Traffic
from service.core.events import ImagesDecoded
from service.core.images import ImageSettings, Placement
from service.core.requests import InferRequest
from service.core.tensors import DATATYPES, Signature, Tensor, TensorSpec
from tests.core.test_images import SETTINGS
from tests.pictures import encoded, picture

PHOTO = encoded(picture(), "JPEG")
WHOLE = replace(SETTINGS, resize="none", crop=None)
SMALL = replace(WHOLE, resize="stretch", edges=(8, 8))
REQUEST = InferRequest((Tensor(WHOLE.name, DATATYPES["BYTES"], array_of_images([PHOTO])),))


@dataclass
class Version:
    images: ImageSettings | None
    model: str = "m"
    number: int = 1
    language: bool = False

    def labels(self, output: str) -> tuple[str, ...]:
        return ("red", "green")


@dataclass
class Repository:
    """Serves each version for one look-up, and then the last one always."""

    versions: list[Version] = field(default_factory=list)

    def version(self, model: str, number: int | None) -> Version:
        return self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]


@dataclass
class Asked:
    """The images of requests, the versions that serve, and the events."""

    repository: Repository
    events: list[Any]
    images: ImageRequests


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    served: Any = Repository()
    events: list[Any] = []
    elsewhere = Elsewhere(1)
    yield Asked(served, events, ImageRequests(served, elsewhere, Traffic(2**30), events.append))
    elsewhere.close()


def exchange(protocol: str = "v2") -> Exchange:
    return Exchange(Target(protocol, "m", None), b"1")


def test_an_image_is_recognised_in_a_body() -> None:
    sent = image_body(exchange(), {b"content-type": b"image/jpeg"}, PHOTO)
    assert sent is not None and sent.form == "body"
    headers = {b"inference-header-content-length": b"0"}
    sent = image_body(exchange(), headers, PHOTO)
    assert sent is not None and sent.header_length == 0
    assert image_body(exchange(), headers, bytes(8)) is None
    assert image_body(exchange("v1"), {}, b'{"instances": [[1]]}') is None


async def test_the_input_for_images_has_a_name(asked: Asked) -> None:
    asked.repository.versions = [Version(WHOLE), Version(None)]
    assert asked.images.input_name(exchange()) == WHOLE.name
    assert asked.images.input_name(exchange()) is None


async def test_requests_without_images_are_not_changed(asked: Asked) -> None:
    tensors = InferRequest((Tensor("x", DATATYPES["INT8"], np.ones(1, np.int8)),))
    asked.repository.versions = [Version(None), Version(WHOLE)]
    assert await asked.images.replace(exchange(), REQUEST) is REQUEST
    assert await asked.images.replace(exchange(), tensors) is tensors
    assert not asked.events


async def test_a_body_with_an_image_is_read(asked: Asked) -> None:
    asking, version = exchange(), Version(WHOLE)
    sent = image_body(asking, {b"content-type": b"image/jpeg"}, PHOTO)
    assert sent is not None
    serving: Any = version
    request = await asked.images.read(asking, sent, serving, WHOLE)
    assert [(each.name, each.array.shape) for each in request.inputs] == [("x", (1, 3, 60, 90))]
    assert asking.pictured is not None and asking.pictured.settings is WHOLE
    assert [(each.model, each.images) for each in asked.events] == [("m", 1)]


async def test_images_are_decoded_again_for_a_version_with_other_settings(asked: Asked) -> None:
    """Only the second decoding counts."""
    old, new = Version(WHOLE), Version(SMALL, number=2)
    asked.repository.versions = [old, new]
    asking = exchange()
    request = await asked.images.replace(asking, REQUEST)
    assert [(each.name, each.array.shape) for each in request.inputs] == [("x", (1, 3, 8, 8))]
    assert asking.pictured is not None and asking.pictured.settings is SMALL
    (event,) = asked.events
    assert type(event) is ImagesDecoded and event[:3] == ("m", 2, 1) and event.seconds > 0


@pytest.mark.parametrize(
    ("protocol", "classes", "answered"), [("v2", 1, False), ("v1", 0, False), ("v1", 1, True)]
)
def test_only_v1_answers_with_classes(protocol: str, classes: int, answered: bool) -> None:
    spec = TensorSpec("y", DATATYPES["FP32"], ("batch", 2))
    version: Any = Version(WHOLE)
    admitted = Admitted(REQUEST, version, Signature((spec,), (spec,)))
    asking = exchange(protocol)
    placement = Placement((90, 60), (90, 60), (90, 60))
    asking.pictured = Pictured(replace(WHOLE, classes=classes), (placement,))
    given = (np.array([[0.25, 0.75]], np.float32),)
    outputs, answer = of_images(asking, admitted, given)
    assert np.array_equal(outputs[0], given[0])
    assert (answer is not None) is answered
    assert answer is None or b'"green"' in bytes(answer.body)
