"""Calls that are about the model repository as requests over HTTP."""

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from service.api.grpc.control import Asked
from service.api.grpc.parameters import values
from service.api.protocol.pace import Pace
from service.core.errors import NotFound

PIECE = 3 * 2**16
"""Bytes that are written as base64 at once, without a rest."""


def index(request: Any) -> Asked:
    """The index, of the one repository that there is or of the one named."""
    path = f"/v2/repository/{_segment(request.repository_name)}/index"
    body = orjson.dumps({"ready": True}) if request.ready else b""
    return Asked("POST", path if request.repository_name else "/v2/repository/index", body)


def load(request: Any) -> Asked:
    """Load a model; files come as bytes, which JSON has as base64."""
    return _verb(request, "load")


def unload(request: Any) -> Asked:
    """Unload a model."""
    return _verb(request, "unload")


def loaded(_: Any) -> Mapping[str, Any]:
    """An empty message."""
    return {}


def _verb(request: Any, verb: str) -> Asked:
    pace = Pace()
    given = {
        name: _base64(value, pace) if type(value) is bytes else value
        for name, value in values(request.parameters, "the request").items()
    }
    body = orjson.dumps({"parameters": given}) if given else b""
    return Asked("POST", f"/v2/repository/models/{_segment(request.model_name)}/{verb}", body)


def _segment(name: str) -> str:
    if "/" in name:
        raise NotFound(f'there is no "{name:.80}"')
    return name


def _base64(data: bytes, pace: Pace) -> str:
    parts = []
    for start in range(0, len(data), PIECE):
        parts.append(base64.b64encode(data[start : start + PIECE]))
        pace()
    return b"".join(parts).decode()
