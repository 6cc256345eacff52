"""Outputs and parameters of a request; errors name the wrong part."""

from typing import Any

import pytest

from service.api.protocol.request_fields import request_of
from service.core.errors import MalformedRequest
from service.core.requests import InferRequest, Place
from tests.api.protocol.test_codec import IN_SHARED_MEMORY


def test_outputs_may_be_requested_in_shared_memory() -> None:
    message: dict[str, Any] = {}
    assert request_of(message, ()).shared is None
    message["outputs"] = [{"name": "y", "parameters": IN_SHARED_MEMORY}]
    got = request_of(message, ())
    assert got.shared == () and got.outputs[0].shared == Place("r", 0, 8)
    assert got.outputs[0].binary


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("parameters", [{}, {"classification": 2}, {"binary_data": True}])
def test_an_output_requested_twice_is_refused(binary: bool, parameters: dict[str, Any]) -> None:
    message = {
        "outputs": [{"name": "z"}, {"name": "y"}, {"name": "y", "parameters": parameters}],
        "parameters": {"binary_data_output": binary},
    }
    with pytest.raises(MalformedRequest, match='"outputs" names "y" twice, expected once'):
        request_of(message, ())


def test_the_number_of_requested_outputs_is_limited() -> None:
    message = {"outputs": [{"name": str(number)} for number in range(4097)]}
    with pytest.raises(MalformedRequest, match="has 4097 items, at most 4096 are allowed"):
        request_of(message, ())


@pytest.mark.parametrize(
    "parameters", [{"sequence_id": 7}, {"sequence_id": "a"}, {"sequence_start": True}]
)
def test_sequences_are_refused(parameters: dict[str, Any]) -> None:
    message = {"parameters": parameters}
    with pytest.raises(MalformedRequest, match="sequences are not supported"):
        request_of(message, ())


def test_parameters_without_effect_are_ignored() -> None:
    none = {"sequence_id": 0, "sequence_start": False, "triton_enable_empty_final_response": True}
    message = {"parameters": none | {"headers": "x", "mine": 1.5}}
    assert request_of(message, ()) == InferRequest(())
