"""Requests and answers in the API of each server: one row in, one row out."""

from abc import ABC, abstractmethod

import numpy as np
import orjson

from tests.benchmarks import protocol
from tests.benchmarks.peers.models import Subject
from tests.benchmarks.protocol import Message, Protocol, Tensors


class Form(ABC):
    """An API. ``wire`` states whether numbers are text or raw bytes."""

    wire: Protocol
    path: str

    @abstractmethod
    def request(self, subject: Subject, row: Tensors) -> Message:
        """Return the request for one row."""

    @abstractmethod
    def answer(self, subject: Subject, message: Message) -> np.ndarray:
        """Return the values of the answer, flat."""


class Inference(Form):
    """The Open Inference Protocol v2."""

    path = "/v2/models/m/infer"

    def __init__(self, wire: Protocol) -> None:
        self.wire = wire

    def request(self, subject: Subject, row: Tensors) -> Message:
        return protocol.request(self.wire, row, (subject.output,))

    def answer(self, subject: Subject, message: Message) -> np.ndarray:
        return protocol.decode(message)[subject.output].ravel()


class Lists(Form):
    """A JSON object with a list of numbers for each input, as hand-written endpoints accept it."""

    wire = Protocol.JSON

    def __init__(self, path: str) -> None:
        self.path = path

    def request(self, subject: Subject, row: Tensors) -> Message:
        return _json({name: array[0] for name, array in row.items()})

    def answer(self, subject: Subject, message: Message) -> np.ndarray:
        return np.array(orjson.loads(message.content)["y"], np.float32)


class Batchable(Form):
    """BentoML: a list of such objects, and a list of rows as the answer."""

    wire = Protocol.JSON
    path = "/predict"

    def request(self, subject: Subject, row: Tensors) -> Message:
        return _json({"requests": [{name: array[0] for name, array in row.items()}]})

    def answer(self, subject: Subject, message: Message) -> np.ndarray:
        return np.array(orjson.loads(message.content)[0], np.float32)


class Raw(Form):
    """The concatenated values of all inputs, without names or shapes."""

    wire = Protocol.BINARY

    def __init__(self, path: str) -> None:
        self.path = path

    def request(self, subject: Subject, row: Tensors) -> Message:
        content = b"".join(row[name].tobytes() for name in subject.inputs)
        return Message(content, "application/octet-stream")

    def answer(self, subject: Subject, message: Message) -> np.ndarray:
        return np.frombuffer(message.content, np.float32)


def _json(value: object) -> Message:
    return Message(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), "application/json")
