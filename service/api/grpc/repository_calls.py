"""Calls about the model repository as HTTP requests."""

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from service.api.grpc.control import Asked
from service.api.grpc.parameters import values
from service.api.protocol.pace import Pace
from service.core.errors import NotFound

PIECE = 3 * 2**16
"""Bytes that are encoded to base64 at once; a multiple of 3, so that pieces have no padding."""


def index(request: Any) -> Asked:
    """Request the index, of the only repository or of the named repository."""
    path = f"/v2/repository/{_segment(request.repository_name)}/index"
    body = orjson.dumps({"ready": True}) if request.ready else b""
    return Asked("POST", path if request.repository_name else "/v2/repository/index", body)


def load(request: Any) -> Asked:
    """Load a model. Its files are bytes, which are sent as base64 in JSON."""
    return _verb(request, "load")


def unload(request: Any) -> Asked:
    """Unload a model."""
    return _verb(request, "unload")


def loaded(_: Any) -> Mapping[str, Any]:
    """Return the fields of an empty message."""
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
        raise NotFound(f'"{name:.80}" does not exist')
    return name


def _base64(data: bytes, pace: Pace) -> str:
    parts = []
    for start in range(0, len(data), PIECE):
        parts.append(base64.b64encode(data[start : start + PIECE]))
        pace()
    return b"".join(parts).decode()
