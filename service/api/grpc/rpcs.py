"""All calls of the inference service except inference, and the HTTP request of each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson
from grpc import StatusCode

from service.api.grpc.control import Answers, Asked
from service.api.grpc.parameters import values
from service.api.grpc.repository_calls import index, load, loaded, unload
from service.core.errors import InvalidName, NotFound
from service.core.names import ALLOWED, NAME

Asks = Callable[[Any], Asked]


class Rpc(NamedTuple):
    """A call: its HTTP request, the form of its answer, and the status codes of errors if Triton
    has another code than usual for this call."""

    ask: Asks
    form: Answers
    codes: Mapping[int, StatusCode] = {}


def _same(found: Any) -> Mapping[str, Any]:
    return dict(found)


def _model(name: str, version: str, what: str) -> str:
    """Return the path of a model or a version. A name must be one segment of the path."""
    for each in (name, version):
        if "/" in each:
            raise NotFound(f'there is no model "{name:.80}" version "{version:.40}"')
    named = f"/v2/models/{name}" + (f"/versions/{version}" if version else "")
    return named + what


def _of_model(what: str) -> Asks:
    return lambda request: Asked("GET", _model(request.name, request.version, what))


def _statistics(request: Any) -> Asked:
    if not request.name:
        return Asked("GET", "/v2/models/stats")
    return Asked("GET", _model(request.name, request.version, "/stats"))


def _traces(request: Any) -> Asked:
    path = _model(request.model_name, "", "") if request.model_name else "/v2"
    changes = {name: _trace_value(list(each.value)) for name, each in request.settings.items()}
    return _settings(f"{path}/trace/setting", changes)


def _trace_value(value: list[str]) -> Any:
    """Return the value of a setting; None, which is the default, if the list is empty."""
    return None if not value else value[0] if len(value) == 1 else value


def _logs(request: Any) -> Asked:
    return _settings("/v2/logging", values(request.settings, "the request"))


def _settings(path: str, changes: Mapping[str, Any]) -> Asked:
    return Asked("POST", path, orjson.dumps(changes)) if changes else Asked("GET", path)


def _listed(found: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = {
        name: {"value": [str(each) for each in value] if isinstance(value, list) else [str(value)]}
        for name, value in found.items()
    }
    return {"settings": settings}


def _chosen(found: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    return {"settings": {name: {kinds[type(each)]: each} for name, each in found.items()}}


def _region(name: str, verb: str) -> str:
    """Return the path of a region of system shared memory; of all regions if ``name`` is empty."""
    if not name:
        return f"/v2/systemsharedmemory/{verb}"
    if not NAME.fullmatch(name):
        raise InvalidName(f"{name!r:.200} cannot be the name of a region: expected {ALLOWED}")
    return f"/v2/systemsharedmemory/region/{name}/{verb}"


def _register(request: Any) -> Asked:
    if not request.name:
        raise InvalidName(f"a region needs a name: expected {ALLOWED}")
    region = {"key": request.key, "offset": request.offset, "byte_size": request.byte_size}
    return Asked("POST", _region(request.name, "register"), orjson.dumps(region))


def _regions(found: Any) -> Mapping[str, Any]:
    return {"regions": {each["name"]: each for each in found}}


def _cuda(verb: str) -> Asks:
    """Return a request for CUDA shared memory, which HTTP refuses too."""
    return lambda _: Asked("GET" if verb == "status" else "POST", f"/v2/cudasharedmemory/{verb}")


RPCS: Mapping[str, Rpc] = {
    "ServerMetadata": Rpc(lambda _: Asked("GET", "/v2"), _same),
    "ModelMetadata": Rpc(_of_model(""), _same),
    "ModelConfig": Rpc(_of_model("/config"), lambda found: {"config": found}),
    "ModelStatistics": Rpc(_statistics, _same),
    "RepositoryIndex": Rpc(index, lambda found: {"models": found}),
    "RepositoryModelLoad": Rpc(load, loaded),
    "RepositoryModelUnload": Rpc(unload, loaded),
    "TraceSetting": Rpc(_traces, _listed),
    "LogSettings": Rpc(_logs, _chosen),
    "SystemSharedMemoryStatus": Rpc(lambda r: Asked("GET", _region(r.name, "status")), _regions),
    "SystemSharedMemoryRegister": Rpc(_register, _same, {409: StatusCode.ALREADY_EXISTS}),
    "SystemSharedMemoryUnregister": Rpc(
        lambda r: Asked("POST", _region(r.name, "unregister")), _same
    ),
    **{
        f"CudaSharedMemory{verb.capitalize()}": Rpc(_cuda(verb), _same)
        for verb in ("status", "register", "unregister")
    },
}
READY: Mapping[str, Asks] = {
    "ServerLive": lambda _: Asked("GET", "/v2/health/live"),
    "ServerReady": lambda _: Asked("GET", "/v2/health/ready"),
    "ModelReady": _of_model("/ready"),
}
"""Calls whose answer is a boolean: true if the HTTP status is 200."""
