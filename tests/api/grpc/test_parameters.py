"""Parameters of every kind are decoded."""

import pytest
from tritonclient.grpc.service_pb2 import ModelInferRequest

from service.api.grpc.parameters import MOST_PARAMETERS, values
from service.core.errors import MalformedRequest


def test_values_of_every_kind_are_read() -> None:
    parameters = ModelInferRequest().parameters
    parameters["a"].bool_param = False
    parameters["b"].int64_param = -7
    parameters["c"].uint64_param = 2**64 - 1
    parameters["d"].double_param = 0.5
    parameters["e"].string_param = ""
    parameters["unset"].SetInParent()
    assert values(parameters, "it") == {"a": False, "b": -7, "c": 2**64 - 1, "d": 0.5, "e": ""}


def test_too_many_parameters_are_refused() -> None:
    parameters = ModelInferRequest().parameters
    for number in range(MOST_PARAMETERS + 1):
        parameters[str(number)].bool_param = True
    with pytest.raises(MalformedRequest, match="the request has 257 parameters"):
        values(parameters, "the request")
