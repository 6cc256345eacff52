"""A body that is decoded elsewhere is queued at the version that serves after decoding."""

import asyncio
import json
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from service.api.dataplane.inference import Inference
from service.api.protocol.pace import TakesLong
from service.api.transport.exchange import Exchange
from service.api.transport.target import Target
from service.api.transport.traffic import Traffic
from service.config.settings import Settings
from service.core.errors import NotReady
from service.core.padding import Padding
from service.core.tensors import DATATYPES, Signature, Tensor, TensorSpec
from service.engine.host.shared_memory import FOLDER, Regions

VALUES = [[1.0, 2.0]] * 10_000
BODY = json.dumps({"instances": VALUES}).encode()


def signature(datatype: str, name: str = "x") -> Signature:
    spec = TensorSpec(name, DATATYPES[datatype], ("batch", None))
    return Signature((spec,), (spec,))


@dataclass
class Version:
    """Keeps the tensors of submitted requests."""

    signature: Signature
    v1_outputs: tuple[str, ...] = ()
    images: None = None
    language: bool = False
    padding: Padding | None = None
    given: list[Tensor] = field(default_factory=list)
    language: bool = False

    def submit(self, inputs: tuple[Tensor, ...], *_: Any) -> None:
        self.given += inputs


@dataclass
class Repository:
    """Serves each version for one look-up, and then the last one always."""

    versions: list[Version | NotReady]

    def version(self, model: str, number: int | None) -> Version:
        found = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
        if isinstance(found, NotReady):
            raise found
        return found


async def admit(*versions: Version | NotReady, leaves: bool = False) -> Exchange:
    """Admit a body while these versions serve, each for one look-up."""
    served: Any = Repository(list(versions))
    inference = Inference(served, Settings(), lambda _: None, Traffic(2**30))
    exchange = Exchange(Target("v1", "m", None), b"1")
    reply = asyncio.get_running_loop().create_future()
    try:
        with pytest.raises(TakesLong):
            inference.admit(exchange, {}, BODY, reply)
        if leaves:
            reply.cancel()
        await inference.admit_elsewhere(exchange, {}, BODY, reply)
    finally:
        inference.elsewhere.close()
    return exchange


async def test_a_request_is_queued_at_the_version_that_it_was_decoded_for() -> None:
    only = Version(signature("FP32"), ("x",))
    exchange = await admit(only)
    assert exchange.version is only
    assert [t.array.dtype for t in only.given] == [np.float32]
    assert exchange.admitted is not None
    assert [output.name for output in exchange.admitted.request.outputs] == ["x"]


async def test_a_request_is_queued_at_a_new_version_with_the_same_inputs() -> None:
    old, new = Version(signature("FP32")), Version(signature("FP32"))
    exchange = await admit(old, old, new)
    assert exchange.version is new
    assert not old.given and len(new.given) == 1


async def test_a_request_is_decoded_again_for_a_version_with_other_inputs() -> None:
    old, new = Version(signature("FP32")), Version(signature("FP64", "z"))
    exchange = await admit(old, old, new)
    assert exchange.version is new and not old.given
    assert [(t.name, t.array.dtype) for t in new.given] == [("z", np.float64)]


async def test_a_version_unloaded_during_decoding_is_an_error() -> None:
    old = Version(signature("FP32"))
    with pytest.raises(NotReady, match="gone"):
        await admit(old, old, NotReady("gone"))
    assert not old.given


async def test_requests_of_disconnected_clients_are_not_queued() -> None:
    old = Version(signature("FP32"))
    exchange = await admit(old, leaves=True)
    assert exchange.admitted is None and not old.given


async def test_memory_for_inputs_in_shared_memory_is_reserved_once() -> None:
    """Also if the request is decoded a second time, for a version with other inputs."""
    prefix = f"qs-inference-{os.getpid()}"
    values = np.ones((1, 2**20), np.float32)
    file = FOLDER / prefix
    file.write_bytes(values.tobytes())
    try:
        regions = Regions(prefix)
        regions.register("r", prefix, 0, values.nbytes)
        where = {"shared_memory_region": "r", "shared_memory_byte_size": values.nbytes}
        tensor = {"name": "x", "datatype": "FP32", "shape": values.shape, "parameters": where}
        body = json.dumps({"inputs": [tensor]}).encode()
        last = Version(signature("FP32"))
        served: Any = Repository([*[Version(signature("FP64"))] * 2, last])
        # Twice the bytes do not fit.
        traffic = Traffic(2 * values.nbytes - 1)
        inference = Inference(served, Settings(), lambda _: None, traffic, regions=regions)
        exchange = Exchange(Target("v2", "m", None), b"1")
        reply = asyncio.get_running_loop().create_future()
        try:
            with pytest.raises(TakesLong):
                inference.admit(exchange, {}, body, reply)
            await inference.admit_elsewhere(exchange, {}, body, reply)
        finally:
            inference.elsewhere.close()
        assert np.array_equal(last.given[0].array, values)
    finally:
        file.unlink()
