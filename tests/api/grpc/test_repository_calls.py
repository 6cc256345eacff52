"""Calls about the repository are requests over HTTP, with files in base64."""

import base64
import json

import pytest
from tritonclient.grpc import service_pb2 as theirs

from service.api.grpc.control import Asked
from service.api.grpc.repository_calls import PIECE, index, load, unload
from service.core.errors import NotFound


def test_the_index_may_name_the_repository() -> None:
    assert index(theirs.RepositoryIndexRequest()) == Asked("POST", "/v2/repository/index")
    named = theirs.RepositoryIndexRequest(repository_name="models", ready=True)
    assert index(named) == Asked("POST", "/v2/repository/models/index", b'{"ready":true}')


def test_a_load_may_send_files_and_a_configuration() -> None:
    file = bytes(range(256)) * (PIECE // 100)
    request = theirs.RepositoryModelLoadRequest(model_name="m")
    request.parameters["config"].string_param = "{}"
    request.parameters["file:1/model.onnx"].bytes_param = file
    method, path, body = load(request)
    assert (method, path) == ("POST", "/v2/repository/models/m/load")
    found = json.loads(body)["parameters"]
    assert found["config"] == "{}"
    assert base64.b64decode(found["file:1/model.onnx"], validate=True) == file


def test_the_parameter_of_an_unload_is_passed_on() -> None:
    request = theirs.RepositoryModelUnloadRequest(model_name="m")
    assert unload(request) == Asked("POST", "/v2/repository/models/m/unload")
    request.parameters["unload_dependents"].bool_param = False
    assert json.loads(unload(request).body) == {"parameters": {"unload_dependents": False}}


def test_a_model_name_cannot_contain_a_slash() -> None:
    with pytest.raises(NotFound):
        load(theirs.RepositoryModelLoadRequest(model_name="m/unload"))
