"""Load and unload, in the format of the protocol's model repository extension.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.api.auth.audit import Audit
from service.api.control.error_handlers import Responses, documented
from service.api.control.lookup import NOT_FOUND, NOT_READY, ModelName
from service.api.control.triton_config import read_configuration
from service.api.protocol.byte_order import is_blank
from service.api.protocol.json_body import body_docs, json_object
from service.api.protocol.json_size import check_size
from service.api.protocol.json_tensors import Bytes, parse_json
from service.api.protocol.pace import Pace
from service.api.transport.arrival import Limits, arrived
from service.config.model import ModelConfig
from service.config.values import first_problem
from service.core.errors import MalformedRequest, UploadRejected
from service.core.events import Verb
from service.engine.repository.repository import ModelRepository
from service.triton.configuration import ModelConfiguration

Publish = Callable[[str, Mapping[str, bytes]], Awaitable[object]]
"""Stores files of a model, such as {"1/model.onnx": ...}, as versions of it."""
FILE = "file:"
SAME = "the ONNX file defines the inputs and outputs"
MAX_VALUES = 16 * 1024
"""The maximum number of values in the JSON of one request, as counted by ``json_size``."""
BASE64_PIECE = 256 * 1024
"""Characters that are decoded at once."""


class LoadParameters(BaseModel):
    """``config`` is the JSON text of a model configuration. It overrides model.toml until the next
    load. A key ``file:<version>/<name>`` has a file of a new version in base64."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"patternProperties": {f"^{FILE}": {"type": "string"}}}
    )

    config: str | None = Field(None, examples=['{"max_batch_size": 16}'])


class LoadRequest(BaseModel):
    """The body is optional."""

    model_config = ConfigDict(extra="forbid")

    parameters: LoadParameters = LoadParameters()


class UnloadParameters(BaseModel):
    """``unload_dependents`` has no effect: no model depends on another."""

    model_config = ConfigDict(extra="forbid")

    unload_dependents: bool = False


class UnloadRequest(BaseModel):
    """The body is optional."""

    model_config = ConfigDict(extra="forbid")

    parameters: UnloadParameters = UnloadParameters()


LOAD_ERRORS: Responses = (
    NOT_FOUND
    | NOT_READY
    | {
        **documented(400, "The body or its configuration is not usable; the error has the reason"),
        **documented(
            409, "The version failed the gate; the version that served before continues to serve"
        ),
    }
)


def repository_verbs(
    repository: ModelRepository, limits: Limits, publish: Publish, audit: Audit
) -> APIRouter:
    """Return the routes that load and unload models."""
    router = APIRouter(
        prefix="/v2/repository/models/{name}",
        tags=["repository"],
    )

    @router.post(
        "/load",
        summary="Load a model, or apply the changes in its folder",
        response_class=Response,
        responses=LOAD_ERRORS,
        openapi_extra=body_docs(LoadRequest, {"parameters": {"config": '{"max_batch_size": 16}'}}),
    )
    async def load(name: ModelName, request: Request) -> Response:
        """Reads the model's folder again: its settings and versions. The version that is to serve
        is checked in the gate. A loaded model continues to serve meanwhile, and if this fails."""
        headers = dict(request.headers.raw)
        with limits.traffic.body(headers, limits.bytes) as grown:
            body = await arrived(request, headers, limits, grown)
            await follow(request, name, body)
        return Response()

    async def follow(request: Request, name: str, body: Bytes) -> None:
        with audit.change(request, Verb.LOAD, name) as change:
            document = {} if is_blank(body) else await asyncio.to_thread(_document, body)
            parameters = _parameters(document)
            override = _override(repository, name, parameters.pop("config", None))
            files = await asyncio.to_thread(_files, parameters)
            change.before = _serving(repository, name)
            if files:
                await _store(publish, name, files)
            await repository.load(name, override)
            change.after = _serving(repository, name)

    @router.post(
        "/unload",
        summary="Unload a model",
        response_class=Response,
        responses=NOT_FOUND | NOT_READY,
        openapi_extra=body_docs(UnloadRequest, {}),
    )
    async def unload(name: ModelName, request: Request) -> Response:
        """Answers all admitted requests, then unloads the model. The model stays unloaded until it
        is loaded by a request, whatever happens in its folder."""
        parameters = _parameters(await json_object(request))
        if type(parameters.pop("unload_dependents", False)) is not bool:
            raise MalformedRequest('"unload_dependents" must be true or false')
        _none_left(parameters)
        with audit.change(request, Verb.UNLOAD, name) as change:
            change.before = _serving(repository, name)
            await repository.unload(name)
        return Response()

    return router


async def _store(publish: Publish, name: str, files: Mapping[str, bytes]) -> None:
    try:
        await publish(name, files)
    except UploadRejected as error:
        if not error.missing:
            raise
        raise UploadRejected(
            f'{error}; send it with the model, as the parameter "{FILE}<version>/<path>"'
        ) from None


def _serving(repository: ModelRepository, name: str) -> int | None:
    model = repository.models.get(name)
    return model.serving.number if model and model.serving else None


def _document(body: Bytes) -> dict[str, Any]:
    check_size(body, MAX_VALUES, "a model has fewer files and settings")
    return parse_json(body)


def _parameters(document: dict[str, Any]) -> dict[str, Any]:
    parameters = document.pop("parameters", {})
    if type(parameters) is not dict:
        raise MalformedRequest('"parameters" must be an object')
    _none_left(document)
    return parameters


def _none_left(parameters: dict[str, Any]) -> None:
    for name in parameters:
        raise MalformedRequest(f'unknown key "{name:.80}"')


def _override(repository: ModelRepository, name: str, config: Any) -> dict[str, Any]:
    if config is None:
        return {}
    if type(config) is not str:
        raise MalformedRequest('"config" must be a string that holds JSON')
    configuration = read_configuration(name, config)
    _check_tensors(repository, name, configuration)
    settings = configuration.settings()
    try:
        ModelConfig.model_validate(settings)
    except ValidationError as error:
        problem = first_problem(error.errors(include_url=False))
        raise MalformedRequest(f"config: {problem.key}: {problem.message}") from None
    return settings


def _check_tensors(repository: ModelRepository, name: str, config: ModelConfiguration) -> None:
    """Check the tensors in a configuration. A client may send back the tensors that it got, but
    must not add others."""
    model = repository.models.get(name)
    loaded = model.serving.loaded if model and model.serving else None
    if loaded is None:
        return
    for given, specs in (
        (config.input, loaded.signature.inputs),
        (config.output, loaded.signature.outputs),
    ):
        known = {spec.name for spec in specs}
        for tensor in given:
            if tensor.name not in known:
                raise MalformedRequest(f'config: there is no tensor "{tensor.name:.80}"; {SAME}')


def _files(parameters: dict[str, Any]) -> dict[str, bytes]:
    files = {}
    for name, text in parameters.items():
        if not name.startswith(FILE):
            raise MalformedRequest(f'unknown parameter "{name:.80}"')
        if type(text) is not str:
            raise MalformedRequest(f'"{name:.80}" must be a string in base64')
        try:
            files[name.removeprefix(FILE)] = _from_base64(text)
        except ValueError as error:  # binascii.Error, or letters that are not ASCII
            raise MalformedRequest(f'"{name:.80}" is not base64: {error}') from None
    return files


def _from_base64(text: str) -> bytes:
    pace, parts = Pace(), []
    for start in range(0, len(text), BASE64_PIECE):
        parts.append(base64.b64decode(text[start : start + BASE64_PIECE], validate=True))
        pace()
    return b"".join(parts)
