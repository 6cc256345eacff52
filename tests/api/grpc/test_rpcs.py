"""Each call becomes the same request as over HTTP, and no name leads to another path."""

from collections.abc import Callable

import orjson
import pytest
from tritonclient.grpc import service_pb2 as theirs

from service.api.grpc.control import Asked
from service.api.grpc.rpcs import READY, RPCS
from service.core.errors import InvalidName, NotFound

METHODS = {m.name for m in theirs.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}


def test_every_method_except_inference_has_a_request() -> None:
    assert RPCS.keys() | READY.keys() | {"ModelInfer", "ModelStreamInfer"} == METHODS


def test_calls_about_models_name_them_in_the_path() -> None:
    request = theirs.ModelMetadataRequest(name="m", version="2")
    assert RPCS["ModelMetadata"].ask(request) == Asked("GET", "/v2/models/m/versions/2")
    assert RPCS["ModelConfig"].ask(request).path == "/v2/models/m/versions/2/config"
    assert RPCS["ModelStatistics"].ask(request).path == "/v2/models/m/versions/2/stats"
    assert RPCS["ModelStatistics"].ask(theirs.ModelStatisticsRequest()).path == "/v2/models/stats"
    assert READY["ModelReady"](theirs.ModelReadyRequest(name="m")).path == "/v2/models/m/ready"


Ask = Callable[..., Asked]


@pytest.mark.parametrize("ask", [RPCS["ModelMetadata"].ask, READY["ModelReady"]])
@pytest.mark.parametrize(("name", "version"), [("m/versions/1", ""), ("m", "1/config")])
def test_a_name_or_version_cannot_contain_a_slash(ask: Ask, name: str, version: str) -> None:
    with pytest.raises(NotFound):
        ask(theirs.ModelMetadataRequest(name=name, version=version))


def test_regions_are_named_in_the_path() -> None:
    register = theirs.SystemSharedMemoryRegisterRequest(name="r", key="/k", offset=8, byte_size=64)
    method, path, body = RPCS["SystemSharedMemoryRegister"].ask(register)
    assert (method, path) == ("POST", "/v2/systemsharedmemory/region/r/register")
    assert orjson.loads(body) == {"key": "/k", "offset": 8, "byte_size": 64}
    status = theirs.SystemSharedMemoryStatusRequest
    ask = RPCS["SystemSharedMemoryStatus"].ask
    assert ask(status()) == Asked("GET", "/v2/systemsharedmemory/status")
    assert ask(status(name="r")) == Asked("GET", "/v2/systemsharedmemory/region/r/status")
    unregister = theirs.SystemSharedMemoryUnregisterRequest
    ask = RPCS["SystemSharedMemoryUnregister"].ask
    assert ask(unregister()) == Asked("POST", "/v2/systemsharedmemory/unregister")
    assert ask(unregister(name="r")).path == "/v2/systemsharedmemory/region/r/unregister"


@pytest.mark.parametrize("name", ["", "a/b", "..", " "])
def test_a_region_without_a_usable_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="region"):
        RPCS["SystemSharedMemoryRegister"].ask(theirs.SystemSharedMemoryRegisterRequest(name=name))


def test_settings_are_read_by_get_and_changed_by_post() -> None:
    request = theirs.LogSettingsRequest()
    assert RPCS["LogSettings"].ask(request) == Asked("GET", "/v2/logging")
    request.settings["log_verbose_level"].uint32_param = 1
    request.settings["log_info"].bool_param = False
    method, path, body = RPCS["LogSettings"].ask(request)
    assert (method, path) == ("POST", "/v2/logging")
    assert body in (
        b'{"log_verbose_level":1,"log_info":false}',
        b'{"log_info":false,"log_verbose_level":1}',
    )
    traces = theirs.TraceSettingRequest(model_name="m")
    traces.settings["trace_level"].value.append("OFF")
    assert RPCS["TraceSetting"].ask(traces) == Asked(
        "POST", "/v2/models/m/trace/setting", b'{"trace_level":"OFF"}'
    )
